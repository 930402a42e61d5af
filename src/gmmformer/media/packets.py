"""What a compressed picture says of itself without being decoded: where decoding can start, what can be left out."""

import re
from collections.abc import Iterator
from typing import NamedTuple

KEYED_CODECS = frozenset(("av1", "ffv1", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9"))
"""A key frame of these, as the container marks it, forgets all that was before it."""
INTRA_CODECS = frozenset(
    (
        "cfhd",
        "dnxhd",
        "dvvideo",
        "ffvhuff",
        "hap",
        "huffyuv",
        "jpeg2000",
        "mjpeg",
        "prores",
        "rawvideo",
        "utvideo",
        "v210",
    )
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
