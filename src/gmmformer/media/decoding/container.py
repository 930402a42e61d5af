"""A film opened for decoding: its best stream, its decoder, what its header says, and why it fails when it fails."""

import errno
import math
import os
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from gmmformer.errors import MissingExtraError
from gmmformer.media.decoding.films import DecodeError, regular_file, unreadable_reason
from gmmformer.media.decoding.timeline import LONGEST_GAP

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
ASPECT_LIMIT = 10
"""Samples more oblong than this are taken for an error and shown square."""
COVER = 0x400 | 0x800
"""AV_DISPOSITION_ATTACHED_PIC and AV_DISPOSITION_TIMED_THUMBNAILS."""
DEFAULT = 0x1
BOTTOM_FIRST = frozenset((3, 4))
"""AVFieldOrder: the bottom field is shown first."""
ENCRYPTION = ("encryption_info", "encryption_init_info")


@dataclass
class DecodeReport:
    """What happened while a film was decoded; grows until the frames end."""

    packet_errors: int = 0
    """Damaged packets that were passed over. Packets that decoding could leave out are not counted."""
    frames_decoded: int = 0
    """Frames that the decoder gave out, wanted or not."""
    packets: int = 0
    """Compressed pictures read."""
    seconds: float = 0.0
    """Length of the film, from its first frame's time to the end of its last frame's."""
    last_frame: float = 0.0
    """Seconds from the film's first frame to its last."""
    on_progress: Callable[[], None] | None = None
    """Called at every packet."""

    def start_over(self) -> None:
        """Forget what was counted: the film is decoded once more."""
        self.packet_errors = self.frames_decoded = self.packets = 0


@dataclass(frozen=True, kw_only=True)
class FilmInfo:
    """What a film's header and its first frame say."""

    path: Path
    duration: float | None
    """Seconds that the header claims; None where it does not say. Often a lie: decoding alone tells."""
    width: int
    """Pixels across as shown: upright, samples square."""
    height: int
    """Pixels down as shown."""
    codec: str
    pixel_format: str
    """Of the stored frames, in ffmpeg's names."""
    rotation: int
    """Degrees counter-clockwise by which a stored frame is turned upright, mirroring aside: 0, 90, 180 or 270."""
    average_rate: float | None
    """Frames per second that the header claims."""
    container: str
    """The file format, in ffmpeg's names."""


class OpenFilm:
    """One film being read: packets of its best video stream, and the decoder for them."""

    def __init__(
        self, path: str | os.PathLike[str], container: Any, stream: Any, decoder: Any, report: DecodeReport
    ) -> None:
        self.path = path
        self.report = report
        self.container = container
        self.stream = stream
        self.decoder = decoder
        self.time_base: Fraction = stream.time_base or Fraction(1, 90000)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.frame_ticks = max(1, round(1 / (rate * self.time_base)))
        """A usual frame's time on screen, in units of `time_base`."""
        aspect = stream.sample_aspect_ratio or Fraction(1)
        self.sample_aspect = aspect if Fraction(1, ASPECT_LIMIT) <= aspect <= ASPECT_LIMIT else Fraction(1)
        self.bottom_field_first = getattr(decoder, "field_order", 0) in BOTTOM_FIRST
        self._encrypted = stream.codec_tag == "encv"

    def time_on_screen(self, duration: int | None) -> int:
        """How long a frame with this duration stays, in units of `time_base`: a usual time where it is not known."""
        return min(duration or self.frame_ticks, math.floor(LONGEST_GAP / self.time_base))

    def packets(self) -> Generator[Any, None, None]:
        """The stream's packets to its end, or to where the file is too damaged to read on."""
        for packet in demuxed(self.container, self.stream, self.path, self._packet_error):
            self.report.packets += 1
            if not self.report.frames_decoded and any(packet.has_sidedata(kind) for kind in ENCRYPTION):
                self._encrypted = True
            if self.report.on_progress:
                self.report.on_progress()
            yield packet

    def _packet_error(self) -> None:
        self.report.packet_errors += 1

    def decode(self, packet: Any | None) -> list[Any]:
        """The frames that come out when `packet` goes in; None takes out those that are still inside.

        Raises:
            av.FFmpegError: The packet is damaged.
            MemoryError: There is none left.
        """
        frames: list[Any] = self.decoder.decode(packet)
        self.report.frames_decoded += len(frames)
        return frames

    def frames(self) -> Iterator[Any]:
        """Every frame in the order of showing; damaged packets are counted and passed over."""
        for packet in self.packets():
            try:
                yield from self.decode(packet)
            except MemoryError:
                raise
            except av.FFmpegError:
                self.report.packet_errors += 1
        yield from self.last_frames()

    def last_frames(self) -> list[Any]:
        """The frames still inside the decoder at the end."""
        try:
            return self.decode(None)
        except MemoryError:
            raise
        except av.FFmpegError:
            return []

    def nothing_decodable(self) -> DecodeError:
        """The error for a film that gave no frame, when all its packets have been read."""
        codec, packets = self.stream.codec_context.name, self.report.packets
        if self._encrypted:
            return DecodeError(self.path, "is encrypted; only a copy without protection can be read")
        if not packets:
            return DecodeError(
                self.path,
                "has a header that describes a film but no pictures after it; it was cut off, or is only a piece",
            )
        if not self.stream.codec_context.width:
            return DecodeError(
                self.path, "has frames of no size, or larger than about 16000 x 16000, which ffmpeg refuses"
            )
        return DecodeError(
            self.path,
            f"none of its {packets} pictures ({codec}) can be decoded; it is damaged or encrypted, try a new copy",
        )


@contextmanager
def open_film(
    path: str | os.PathLike[str], *, threads: int = 1, report: DecodeReport | None = None
) -> Iterator[OpenFilm]:
    """Open a film and choose its stream; closed at the end of the block.

    The stream: no cover picture; of those the first that the container marks as default; where none is marked, the
    one with most pixels. VP8 and VP9 with transparency are given to the decoder that knows it.

    Args:
        path: Any name, also one that looks like an option or an address: it is only ever a file.
        threads: Threads of the decoder; 0 for one per core.
        report: What to count in.

    Raises:
        DecodeError: It is not a film that can be read; the reason says why.
    """
    if not regular_file(path).st_size:
        raise DecodeError(path, "is empty (0 bytes)")
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open("file:" + os.path.abspath(os.fsdecode(path)), options=options, metadata_errors="replace")  # noqa: PTH100
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(path, _unopened_reason(path, error)) from error
    with container:
        stream = _best_stream(path, container)
        for other in container.streams:
            if other is not stream:
                other.discard = av.stream.Discard.all
        decoder = stream.codec_context
        tags = {key.lower(): value for key, value in stream.metadata.items()}
        if tags.get("alpha_mode") == "1" and decoder.name in ("vp8", "vp9"):
            decoder = av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[decoder.name], "r")
        decoder.thread_count = threads
        decoder.thread_type = "AUTO"
        yield OpenFilm(path, container, stream, decoder, report or DecodeReport())


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


def _best_stream(path: str | os.PathLike[str], container: Any) -> Any:
    films = [stream for stream in container.streams.video if not int(stream.disposition) & COVER]
    if not films:
        found = (
            "a cover picture" if container.streams.video else "sound or text" if len(container.streams) else "a header"
        )
        raise DecodeError(path, f"has no video stream, only {found}")
    decodable = [stream for stream in films if stream.codec_context is not None]
    if not decodable:
        raise DecodeError(path, "is compressed with a codec that cannot be decoded here; convert it to H.264")
    pixels = {stream.index: stream.codec_context.width * stream.codec_context.height for stream in decodable}
    marked = [stream for stream in decodable if int(stream.disposition) & DEFAULT and pixels[stream.index]]
    return marked[0] if marked else max(decodable, key=lambda stream: pixels[stream.index])


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
