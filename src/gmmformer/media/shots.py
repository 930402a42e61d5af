"""Where shots of a film begin: between two frames that follow each other everything is another picture."""

import os

import numpy as np
from jaxtyping import Float

from gmmformer.media.frames import probe, sampled_frames

SIDE = 36
"""Pixels of the shorter side of the frames that are compared."""
LEAST = 10.0
"""Levels, of 255, by which a shot's first frame differs from the frame before, on average over its pixels."""
RATIO = 3.0
"""How much more that is than what the frames around it differ by; docs/serve.md has what was measured."""
AROUND = 4
"""Frames to both sides that are looked at for that."""
SHORTEST = 7
"""Frames, at least, from one shot's beginning to the next."""
MOST_RATE, USUAL_RATE = 60.0, 25.0
"""Frames per second that are looked at, at most, and where a film does not say how many it has."""


def shots(film: str | os.PathLike[str], start: float, end: float) -> tuple[float | None, list[float]]:
    """The frames per second that a film claims, and the seconds within [start, end) at which its shots begin.

    Hard cuts only: a dissolve has no second. Frames around the span are decoded too, and nothing else.

    Raises:
        InputError: The span makes no sense.
        DecodeError: The film cannot be read or decoded.
    """
    told = probe(film).rate
    claimed = None if told is None else float(told)
    rate = min(claimed or USUAL_RATE, MOST_RATE)
    first = max(0, int(start * rate) - AROUND - 1)
    seconds, steps, last = list[float](), list[float](), None
    for frame in sampled_frames(film, fps=rate, size=SIDE, start=first / rate, end=end + (AROUND + 1) / rate):
        image = frame.image.astype(np.int16)
        if last is not None:
            seconds.append(frame.seconds)
            steps.append(float(np.abs(image - last).mean()))
        last = image
    begins = [seconds[index] for index in boundaries(np.array(steps))]
    return claimed, [round(second, 3) for second in begins if start <= second < end]


def boundaries(steps: Float[np.ndarray, "steps"]) -> list[int]:
    """The steps from frame to frame that lead into another shot.

    >>> boundaries(np.array([1.0, 2.0, 40.0, 1.0, 2.0, 12.0, 11.0, 12.0, 11.0]))
    [2]
    """
    found = []
    for index in np.flatnonzero(steps >= LEAST).tolist():
        around = np.concatenate([steps[max(0, index - AROUND) : index], steps[index + 1 : index + 1 + AROUND]])
        near = steps[max(0, index - SHORTEST + 1) : index + SHORTEST]
        if steps[index] == near.max() and (not len(around) or steps[index] >= RATIO * around.mean()):
            found.append(index)
    return found
