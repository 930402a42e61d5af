"""A film's file opened, which of its streams is the film, and the packets of a stream."""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gmmformer.errors import MissingExtraError
from gmmformer.media.films import DecodeError, regular_file, unreadable_reason

try:
    import av
except ImportError as error:
    raise MissingExtraError("Decoding films", "films") from error

FORMATS = (
    "3dostr,4xm,amv,apng,apv,asf,asf_o,av1,avi,avs2,avs3,bink,cavsvideo,cine,dhav,dirac,dnxhd,dv,evc,f4v,film_cpk,flic,flv,"
    "gif,gxf,h261,h263,h264,hevc,ipmovie,ivf,ivr,jv,kux,live_flv,lmlm4,lxf,m4v,matroska,webm,mjpeg,mjpeg_2000,moflex,mov,"
    "mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegtsraw,mpegvideo,mtv,mv,mxf,mxg,nsv,nut,nuv,obu,ogg,pva,r3d,rl2,rm,roq,rpl,smjpeg,"
    "smk,swf,thp,ty,usm,vc1,vc1test,viv,vividas,vivo,vmd,vvc,webm_chunk,wtv,xmv,yop,yuv4mpegpipe"
)
"""What is taken for a film. Left out: text (which ffmpeg would render), pictures, and lists that name other files."""
COVER = 0x400 | 0x800
"""AV_DISPOSITION_ATTACHED_PIC and AV_DISPOSITION_TIMED_THUMBNAILS."""
DEFAULT = 0x1
COUNTED = 100
"""Pictures of the stream that has most of them, up to which those of all are counted where there are several."""
SPARSE = 10
"""A stream with as many times fewer pictures than another is taken for still pictures."""
MOST_COUNTED_BYTES = 64 << 20


class Choice(NamedTuple):
    """The stream that is taken for the film."""

    stream: int
    """Its index."""
    doubt: str | None
    """Why not the one that its marks or its size speak for, in words."""


def opened(path: str | os.PathLike[str]) -> Any:
    """A film's container, opened by PyAV; the caller closes it.

    Raises:
        DecodeError: It is not a film that can be read; the reason says why.
    """
    if not regular_file(path).st_size:
        raise DecodeError(path, "is empty (0 bytes)")
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open("file:" + os.path.abspath(os.fsdecode(path)), options=options, metadata_errors="replace")  # noqa: PTH100
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(path, _unopened_reason(path, error)) from error


def chosen_stream(path: str | os.PathLike[str], container: Any) -> Choice:
    """The stream that is the film: no cover picture, and no still picture where another has pictures over time.

    Of those the first that the container marks as default; where none is marked, the one with most pixels. Where there
    are several, packets are read, so that the container must be opened anew after it.

    Raises:
        DecodeError: There is none, or none that can be decoded.
    """
    films = [stream for stream in container.streams.video if not int(stream.disposition) & COVER]
    if not films:
        found = (
            "a cover picture" if container.streams.video else "sound or text" if len(container.streams) else "a header"
        )
        raise DecodeError(path, f"has no video stream, only {found}")
    decodable = [stream for stream in films if stream.codec_context is not None]
    if not decodable:
        raise DecodeError(path, "is compressed with a codec that cannot be decoded here; convert it to H.264")
    if len(decodable) == 1:
        return Choice(decodable[0].index, None)
    pixels = {stream.index: stream.codec_context.width * stream.codec_context.height for stream in decodable}
    marked = [stream for stream in decodable if int(stream.disposition) & DEFAULT and pixels[stream.index]]
    by_size = sorted(decodable, key=lambda stream: -pixels[stream.index])
    preferred = [stream.index for stream in (*marked, *by_size)]
    pictures = _pictures(container, decodable)
    most = max(pictures.values())
    chosen = next(index for index in preferred if pictures[index] * SPARSE > most or not most)
    if chosen == preferred[0]:
        return Choice(chosen, None)
    seen = f"{pictures[preferred[0]]} in the time in which stream {chosen} has {pictures[chosen]}"
    return Choice(chosen, f"its video stream {preferred[0]} has few pictures, {seen}, which is taken for the film")


def _pictures(container: Any, streams: list[Any]) -> dict[int, int]:
    """How many pictures each stream has in the stretch of the film in which one has COUNTED."""
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    read = 0
    try:
        for packet in container.demux(streams):
            counts[packet.stream.index] += bool(packet.size)
            read += packet.size
            if counts[packet.stream.index] >= COUNTED or read > MOST_COUNTED_BYTES:
                break
    except MemoryError:
        raise
    except av.FFmpegError:  # what is there was counted; reading it again meets the damage
        pass
    return counts


def demuxed(
    container: Any, stream: Any, path: str | os.PathLike[str], on_damage: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """A stream's packets that hold something, to its end, or to where the file is too damaged to read on.

    Args:
        container: The open film.
        stream: One of its streams.
        path: The film, for the error.
        on_damage: Called where damage ends the packets.

    Raises:
        DecodeError: The disk fails.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            if error.errno == errno.EIO:
                raise DecodeError(path, "cannot be read from the disk (I/O error); copy it again") from error
            on_damage()
            return
        if packet is None:
            return
        if packet.size:
            yield packet


def _unopened_reason(path: str | os.PathLike[str], error: Exception) -> str:
    if isinstance(error, OSError):
        return unreadable_reason(error)
    try:
        with Path(path).open("rb") as file:
            head = file.read(1 << 16)
            is_mp4 = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
            cut_off = is_mp4 and _lacks_index(file)
    except OSError as unreadable:
        return unreadable_reason(unreadable)
    if b"pssh" in head or b"encv" in head:
        return "is encrypted, or damaged; only a copy without protection can be read"
    if cut_off:
        return "has no index (moov): its recording was cut off, or it is still being written or copied"
    if is_mp4 or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"FLV\x01"):
        return "is damaged: its header cannot be read; try a new copy"
    return "is not a film, or its beginning is damaged"


def _lacks_index(file: Any) -> bool:
    """Whether the outermost boxes of an ISO base media file (ISO/IEC 14496-12) are sound but end without a moov."""
    position, end = 0, file.seek(0, os.SEEK_END)
    while position + 8 <= end:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if name == b"moov" or not name.isalnum() or 0 < size < 8:
            return False
        position += size or end
    return True
