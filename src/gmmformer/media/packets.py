"""A film's file opened, which of its streams is the film, the packets of a stream, and what a compressed picture says
of itself without being decoded: where decoding can start, what can be left out.
"""

import errno
import os
import re
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

KEYED_CODECS = frozenset(("av1", "ffv1", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9"))
"""A key frame of these, as the container marks it, forgets all that was before it."""
INTRA_CODECS = frozenset(
    re.findall(r"\w+", "cfhd dnxhd dvvideo ffvhuff hap huffyuv jpeg2000 mjpeg prores rawvideo utvideo v210")
)
"""Every picture of these stands alone."""
SKIPPABLE_CODECS = KEYED_CODECS | INTRA_CODECS | {"h264", "hevc"}

START_CODE = re.compile(rb"\x00\x00\x01")
H264_IDR = 5
H264_PARAMETERS = frozenset((7, 8, 13, 15))
HEVC_IRAP = range(16, 22)
HEVC_PARAMETERS = frozenset((32, 33, 34))
HEVC_LAST_UNREFERENCED = 14
MPEG_PICTURE, MPEG_B = 0, 3
MPEG4_PICTURE = b"\x00\x00\x01\xb6"
MPEG4_PACKED = re.compile(rb"DivX\d+(?:b|Build)\d+p")
"""User data of MPEG-4 whose B frames are packed with the frame before, placeholders standing where they belong."""


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


class PacketRole(NamedTuple):
    """What leaving out a packet, or beginning with it, would do to the frames around it."""

    starts: bool
    """Decoding can start here: later frames, in time, come out as if all before had been decoded."""
    unreferenced: bool
    """No other frame is predicted from this one."""
    shown: bool = True
    """It brings a frame to the screen."""
    packed: bool = False
    """Which frames it brings depends on the packets before, though it is a key frame."""


class PacketReader:
    """Reads the roles of one stream's packets from their first bytes.

    Sources: ITU-T H.264 7.4.1 (nal_ref_idc, IDR), ITU-T H.265 7.4.2.2 (nal_unit_type; a sub-layer non-reference
    picture is unreferenced only in the highest sub-layer), ISO/IEC 14496-15 (avcC, hvcC), ITU-T H.262 6.3.9, RFC 6386
    9.1. H.264 key frames that are no IDR pictures (recovery points) are not taken as starts.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self.reads_all = codec in ("vp8", "mpeg4")
        """Whether packets that are no key frames need to be read too: for those that show nothing, or are packed."""
        self._codec = codec
        head = extradata or b""
        self._packed = codec == "mpeg4" and MPEG4_PACKED.search(head) is not None
        self._length_size, self._highest_layer = 0, -1
        if codec == "h264" and len(head) > 4 and head[0] == 1:
            self._length_size = (head[4] & 3) + 1
        if codec == "hevc" and len(head) > 22 and head[0] == 1:
            self._length_size = (head[21] & 3) + 1
            self._highest_layer = (head[21] >> 3 & 7) - 1

    def role(self, data: bytes, is_keyframe: bool) -> PacketRole:
        """The role of a packet with this content, which the container marks as a key frame or not."""
        match self._codec:
            case "h264":
                return self._h264(data)
            case "hevc":
                return self._hevc(data)
            case "mpeg1video" | "mpeg2video":
                kinds = [
                    data[at + 2] >> 3 & 7
                    for at in self._units(data)
                    if data[at : at + 1] == b"\0" and at + 2 < len(data)
                ]
                return PacketRole(starts=is_keyframe, unreferenced=bool(kinds) and set(kinds) == {MPEG_B})
            case "mpeg4":
                packed = self._packed or data.count(MPEG4_PICTURE) > 1 or MPEG4_PACKED.search(data) is not None
                return PacketRole(starts=is_keyframe, unreferenced=False, packed=packed)
            case "vp8":
                return PacketRole(starts=is_keyframe, unreferenced=False, shown=bool(data) and bool(data[0] & 16))
            case codec:
                return PacketRole(starts=is_keyframe or codec in INTRA_CODECS, unreferenced=codec in INTRA_CODECS)

    def _h264(self, data: bytes) -> PacketRole:
        heads = [data[at] for at in self._units(data)]
        pictures = [head for head in heads if 1 <= head & 31 <= H264_IDR]
        return PacketRole(
            starts=any(head & 31 == H264_IDR for head in pictures),
            unreferenced=bool(pictures)
            and not any(head & 0x60 for head in pictures)
            and not any(head & 31 in H264_PARAMETERS for head in heads),
        )

    def _hevc(self, data: bytes) -> PacketRole:
        heads = [(data[at] >> 1 & 63, (data[at + 1] & 7) - 1) for at in self._units(data) if at + 1 < len(data)]
        pictures = [(kind, layer) for kind, layer in heads if kind < min(HEVC_PARAMETERS)]
        return PacketRole(
            starts=bool(pictures) and all(kind in HEVC_IRAP for kind, _ in pictures),
            unreferenced=bool(pictures)
            and all(
                kind <= HEVC_LAST_UNREFERENCED and kind % 2 == 0 and layer == self._highest_layer
                for kind, layer in pictures
            )
            and not any(kind in HEVC_PARAMETERS for kind, _ in heads),
        )

    def _units(self, data: bytes) -> Iterator[int]:
        """Where each unit's first byte stands, after its start code or its length."""
        if not self._length_size:
            yield from (found.end() for found in START_CODE.finditer(data) if found.end() < len(data))
            return
        at = 0
        while at + self._length_size < len(data):
            yield at + self._length_size
            at += self._length_size + int.from_bytes(data[at : at + self._length_size], "big")
