"""Films of bar codes by name."""

from fractions import Fraction

import numpy as np

from film_recipes import (
    BT601,
    BT2020,
    HOUR,
    UNEVEN,
    WHOLE,
    WRAP,
    Recipe,
    beside,
    cut_by_edits,
    gapped,
    joint,
    packed,
    plain,
    resized,
    tagged,
    turned,
    turned_inside,
    turned_inside_hevc,
    with_still,
)

MATRICES = {
    **dict.fromkeys(range(18), BT601),
    **{tag: tag for tag in (1, 4, 5, 6, 7, 9)},
    10: BT2020,
    14: BT2020,
}
"""Every value of matrix_coefficients in ITU-T H.273, and by which matrix players show it: those that they do not know
as if it did not say, or as the plain kind of its family."""
TURNS = {
    "90": (lambda image: np.rot90(image, 3), (0, -1, 0, 1, 0, 0, 0, 0, 1)),
    "180": (lambda image: np.rot90(image, 2), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "270": (lambda image: np.rot90(image, 1), (0, 1, 0, -1, 0, 0, 0, 0, 1)),
    "mirrored": (lambda image: image[:, ::-1], (-1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "upside down": (lambda image: image[::-1], (1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "transposed": (lambda image: image.swapaxes(0, 1), (0, 1, 0, 1, 0, 0, 0, 0, 1)),
    "transposed and turned": (lambda image: np.rot90(image.swapaxes(0, 1), 2), (0, -1, 0, -1, 0, 0, 0, 0, 1)),
}

HEVC = {"codec": "libx265"}
MPEG2 = {"codec": "mpeg2video", **WHOLE}
VP9 = {"codec": "libvpx-vp9"}
NO_B = {"options": {"bf": "0"}}

CONTAINERS = {
    "mp4": plain("f.mp4", **NO_B),
    "mp4, b frames": plain("f.mp4"),
    "mp4, one group": plain("f.mp4", options={"g": "9999"}),
    "mp4, fragmented": plain("f.mp4", muxing={"movflags": "frag_keyframe+empty_moov"}),
    "mp4, no edit list": plain("f.mp4", muxing={"use_editlist": "0"}),
    "mov": plain("f.mov"),
    "mkv": plain("f.mkv"),
    "ts": plain("f.ts"),
    "flv": plain("f.flv", copied=None),
    "nut": plain("f.nut"),
    "avi": plain("f.avi", copied=False, **NO_B, **WHOLE),
    "avi, b frames": plain("f.avi", copied=False, **WHOLE),
    "raw h264": plain("f.h264", copied=False, **WHOLE),
    "hevc mp4": plain("f.mp4", **HEVC),
    "hevc mkv": plain("f.mkv", **HEVC),
    "hevc ts": plain("f.ts", **HEVC),
    "mpeg4 mp4": plain("f.mp4", codec="mpeg4", **WHOLE),
    "mpeg4 avi": plain("f.avi", codec="mpeg4", copied=False, **WHOLE),
    "mpeg4 mkv": plain("f.mkv", codec="mpeg4", copied=None, **WHOLE),
    "vp8 webm": plain("f.webm", codec="libvpx", copied=False),
    "vp9 webm": plain("f.webm", **VP9),
    "vp9 mp4": plain("f.mp4", **VP9),
    "mpeg2 ts": plain("f.ts", copied=False, **MPEG2),
    "mpeg2 program stream": plain("f.mpg", copied=False, **MPEG2),
    "mpeg2 mxf": plain("f.mxf", copied=False, **MPEG2),
    "mpeg2 mkv": plain("f.mkv", copied=False, **MPEG2),
    "mjpeg avi": plain("f.avi", codec="mjpeg", pixel_format="yuvj420p", copied=False, **WHOLE),
    "prores mov": plain("f.mov", codec="prores_ks", pixel_format="yuv422p10le", copied=False),
    "y4m": plain("f.y4m", codec="rawvideo", copied=False, **WHOLE),
    "gif": plain("f.gif", codec="gif", pixel_format="rgb8", time_base=Fraction(1, 100), copied=False),
    "wmv": plain("f.wmv", codec="wmv2", copied=False),
}
JOINTS = {
    "clock restarted": joint("f.ts", [0, 0]),
    "clock restarted late": joint("f.ts", [5, 5]),
    "clock restarted, no b frames": joint("f.ts", [0, 0], **NO_B),
    "clock restarted thrice": joint("f.ts", [0, 0, 0, 0]),
    "clock restarted after less than a second": joint("f.ts", [0, 0, 0, 0, 0, 0], each=20),
    "clock restarted, hevc": joint("f.ts", [0, 0], **HEVC),
    "clock restarted, mpeg2": joint("f.ts", [0, 0], **MPEG2),
    "clock restarted, program stream": joint("f.mpg", [0, 0], **MPEG2),
    "clock two hours ahead": joint("f.ts", [0, 2 * HOUR]),
    "clock two hours ahead, hevc": joint("f.ts", [0, 2 * HOUR], **HEVC),
    "clock two hours ahead, mpeg2": joint("f.ts", [0, 2 * HOUR], **MPEG2),
    "clock two hours back": joint("f.ts", [2 * HOUR, 0]),
    "clock two hours back, hevc": joint("f.ts", [2 * HOUR, 0], **HEVC),
    "clock two hours back, mpeg2": joint("f.ts", [2 * HOUR, 0], **MPEG2),
    "clock a day ahead": joint("f.ts", [0, 24 * HOUR]),
    "clock ahead and back": joint("f.ts", [0, 2 * HOUR, 0, 3 * HOUR]),
    "clock ten seconds back": joint("f.ts", [12, 2]),
    "clock wraps": plain("f.ts", clock=WRAP - 2, copied=None),
    "clock wraps at a join": joint("f.ts", [WRAP - Fraction(12, 5), 0], **NO_B),
    "clock wraps, then restarts": joint("f.ts", [WRAP - Fraction(9, 5), 0, 0], each=80),
    "clock wraps, mpeg2": plain("f.ts", clock=WRAP - 2, copied=False, **MPEG2),
}
GAPS = {
    "gap of a minute, mp4": gapped("f.mp4", 60),
    "gap of two hours, mp4": gapped("f.mp4", 7200),
    "gap of two hours, mov": gapped("f.mov", 7200),
    "gap of two hours, fragmented": gapped("f.mp4", 7200, muxing={"movflags": "frag_keyframe+empty_moov"}),
    "gap of two hours, mkv": gapped("f.mkv", 7200),
    "gap of two hours, mkv, hevc": gapped("f.mkv", 7200, **HEVC),
    "gap of two hours, mkv, one group": gapped("f.mkv", 7200, options={"g": "9999"}),
    "gap of two hours, webm": gapped("f.webm", 7200, **VP9),
    "gap of two hours, nut": gapped("f.nut", 7200),
    "gap of 61 minutes, mkv": gapped("f.mkv", 3660),
    "three gaps, mkv": gapped("f.mkv", 3700, 30, 4000),
    "three gaps, mp4": gapped("f.mp4", 3700, 30, 4000),
    "gap of a day, mkv": gapped("f.mkv", 86400),
}
STARTS = {
    "from 10 s, mp4": plain("f.mp4", clock=10),
    "from 10 s, fragmented": plain("f.mp4", clock=10, muxing={"movflags": "frag_keyframe+delay_moov"}),
    "from 10 s, mkv": plain("f.mkv", clock=10),
    "from 10 s, webm": plain("f.webm", clock=10, **VP9),
    "from 10 s, flv": plain("f.flv", clock=10, copied=None),
    "from 10 s, ts": plain("f.ts", clock=10),
    "from 20 hours, ts": plain("f.ts", clock=20 * HOUR),
    "from two hours, mkv": plain("f.mkv", clock=2 * HOUR),
    "from two hours, mp4": plain("f.mp4", clock=2 * HOUR),
    "from -2 s, nut": plain("f.nut", clock=-2, **NO_B),
    "from -2 s, mkv": plain("f.mkv", clock=-2, copied=None, muxing={"avoid_negative_ts": "disabled"}),
    "from -2 s, ts": plain("f.ts", clock=-2, muxing={"avoid_negative_ts": "disabled"}),
    "sound first, mp4": beside("f.mp4", 0, clock=3),
    "sound first, mkv": beside("f.mkv", 0, clock=3),
    "sound first, ts": beside("f.ts", 0, clock=3),
    "sound later, mp4": beside("f.mp4", 2),
    "sound later, mkv": beside("f.mkv", 2),
    "sound before zero, mkv": beside("f.mkv", 0, clock=10),
}
UNEVEN_RATES = {
    f"uneven, {name}": plain(f"f.{name.split()[0]}", UNEVEN, **how)
    for name, how in {
        "mp4": {},
        "mp4 without b frames": NO_B,
        "mp4 hevc": HEVC,
        "mov": {},
        "mkv": {},
        "mkv hevc": HEVC,
        "ts": {},
        "flv": {"copied": None},
        "nut": {},
        "webm": VP9,
    }.items()
}
EDITS = {
    "blank before": cut_by_edits("f.mp4", [(2, None), (Fraction(16, 5), 0)]),
    "blank before, b frames": cut_by_edits("f.mp4", [(2, None), (Fraction(16, 5), 0)], options={}),
    "trimmed at a key frame": cut_by_edits("f.mp4", [(Fraction(56, 25), Fraction(24, 25))]),
    "trimmed between key frames": cut_by_edits("f.mp4", [(2, 1)]),
    "trimmed between key frames, b frames": cut_by_edits("f.mp4", [(2, 1)], options={}),
    "trimmed, hevc": cut_by_edits("f.mp4", [(2, 1)], codec="libx265", options={}),
    "trimmed at the end": cut_by_edits("f.mp4", [(3, 0)]),
    "trimmed at both ends": cut_by_edits("f.mp4", [(Fraction(8, 5), Fraction(4, 5))], options={}),
    "blank, then trimmed": cut_by_edits("f.mp4", [(5, None), (2, 1)]),
    "a piece left out": cut_by_edits("f.mp4", [(Fraction(36, 25), 0), (Fraction(32, 25), Fraction(48, 25))]),
    "two pieces the other way round": cut_by_edits(
        "f.mp4", [(Fraction(32, 25), Fraction(48, 25)), (Fraction(36, 25), 0)]
    ),
}
PACKED = {f"packed b frames, {name}": packed(f"f.{name}") for name in ("avi", "mkv", "mp4", "mov", "nut")}
TURNED = {
    **{f"turned {name}, mp4": turned("f.mp4", *how) for name, how in TURNS.items()},
    "turned 90, mov": turned("f.mov", *TURNS["90"]),
    "turned 90, mkv": turned("f.mkv", *TURNS["90"]),
    "turned 270, mkv": turned("f.mkv", *TURNS["270"]),
    "turned 90, hevc": turned("f.mp4", *TURNS["90"], **HEVC),
    "turned 90, uneven": turned("f.mp4", *TURNS["90"], clock=10),
    "turned 90 inside, mp4": turned_inside("f.mp4", TURNS["90"][0], "rotate=90"),
    "turned 180 inside, mp4": turned_inside("f.mp4", TURNS["180"][0], "rotate=180"),
    "turned 270 inside, mp4": turned_inside("f.mp4", TURNS["270"][0], "rotate=270"),
    "mirrored inside, mp4": turned_inside("f.mp4", TURNS["mirrored"][0], "flip=horizontal"),
    "upside down inside, mp4": turned_inside("f.mp4", TURNS["upside down"][0], "flip=vertical"),
    "turned 90 inside, ts": turned_inside("f.ts", TURNS["90"][0], "rotate=90", copied=None),
    "turned 90 inside, mkv": turned_inside("f.mkv", TURNS["90"][0], "rotate=90"),
    "turned 90 inside, hevc mp4": turned_inside_hevc("f.mp4", TURNS["90"][0], 90),
    "turned 180 inside, hevc ts": turned_inside_hevc("f.ts", TURNS["180"][0], 180),
    "turned 270 inside, hevc mkv": turned_inside_hevc("f.mkv", TURNS["270"][0], 270),
}
SIZES = {
    "wide samples, mp4": resized("f.mp4", (80, 96, 2)),
    "tall samples, mkv": resized("f.mkv", (320, 96, Fraction(1, 2))),
    "grows, ts": resized("f.ts", (160, 96, 1), (320, 192, 1)),
    "shrinks, ts": resized("f.ts", (320, 192, 1), (160, 96, 1)),
    "grows, mkv": resized("f.mkv", (160, 96, 1), (320, 192, 1)),
    "grows, mp4": resized("f.mp4", (160, 96, 1), (320, 192, 1)),
    "grows, hevc ts": resized("f.ts", (160, 96, 1), (320, 192, 1), codec="libx265"),
    "grows, hevc mkv": resized("f.mkv", (160, 96, 1), (320, 192, 1), codec="libx265"),
    "becomes upright, ts": resized("f.ts", (160, 96, 1), (160, 288, 1)),
    "becomes wide, ts": resized("f.ts", (160, 128, 1), (256, 128, 1)),
    "becomes wide, mkv": resized("f.mkv", (160, 128, 1), (256, 128, 1)),
    "becomes wide and back, ts": resized("f.ts", (160, 128, 1), (256, 128, 1), (160, 128, 1)),
    "samples become wide, ts": resized("f.ts", (160, 96, 1), (80, 96, 2)),
    "samples become square, mkv": resized("f.mkv", (80, 96, 2), (160, 96, 1)),
}
STILLS = {
    "still first, mkv": with_still("f.mkv", size=(64, 64), first=True),
    "still first and larger, mkv": with_still("f.mkv", size=(600, 600), first=True),
    "still first and larger, mp4": with_still("f.mp4", size=(600, 600), first=True),
    "still larger, mkv": with_still("f.mkv", size=(600, 600), first=False),
    "still larger, mp4": with_still("f.mp4", size=(600, 600), first=False),
    "still larger, none marked, mkv": with_still("f.mkv", size=(600, 600), first=False, marked="neither"),
    "still alone marked, mkv": with_still("f.mkv", size=(600, 600), first=False, marked="still"),
    "still first, png, mp4": with_still("f.mp4", size=(600, 600), first=True, codec="png"),
    "still twice, mkv": with_still("f.mkv", size=(600, 600), first=True, pictures=2),
}
COLOURS = {
    **{
        f"matrix {tag}{', 10 bits' * deep}": tagged(
            "f.mp4", f"matrix_coefficients={tag}", matrix=matrix, pixel_format="yuv420p10le" if deep else "yuv420p"
        )
        for tag, matrix in MATRICES.items()
        for deep in (False, True)
    },
    "matrix 8, mkv": tagged("f.mkv", "matrix_coefficients=8"),
    "matrix 14, ts": tagged("f.ts", "matrix_coefficients=14", matrix=BT2020),
    "stored as RGB": plain("f.mp4", codec="libx264rgb", pixel_format="rgb24"),
    **{f"primaries {tag}": tagged("f.mp4", f"colour_primaries={tag}") for tag in (2, 3, 4, 8, 10, 12, 22, 200)},
    **{
        f"transfer {tag}": tagged("f.mp4", f"transfer_characteristics={tag}")
        for tag in (2, 3, 4, 8, 10, 11, 13, 17, 200)
    },
}
ODD: dict[str, Recipe] = CONTAINERS | JOINTS | GAPS | STARTS | UNEVEN_RATES | EDITS | PACKED | TURNED | SIZES | STILLS
FILMS = ODD | COLOURS
BEGIN_LATE = [name for name in STARTS if name.startswith(("from 10", "from two")) or "first" in name]
