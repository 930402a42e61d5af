"""Encoding: frames a second, the share of the time that is spent in the kernel, and the share of the matrix rate.

    python benchmarks/encoders.py [--frames 64] [--clip-frames 32] [--turns 3]

Time is the processor's, of all threads of this process, so that other work on the machine is not in it; frames a second
are given by the clock too, in the best turn. The matrix rate is that of the products of CLIP's own layers (1,600 rows,
768 and 3,072 wide), which take turns with the encoder and are timed alike; work is what torch counts of an encoder's
products and convolutions. CLIP is a ViT-B/32 with random weights, made by the library's own classes: what it computes
is noise, what it costs is what CLIP costs. Preparing the pictures (scaling, normalising) is counted. `small` is left
out where its weights are not (gmmformer models get small).
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from gmmformer.demo.encoders import ShapeFrames
from gmmformer.errors import InputError
from gmmformer.media.encoders import FrameEncoder, frame_encoder

ROWS, LAYERS = 1600, (*4 * [(768, 768)], (768, 3072), (3072, 768))
"""Of CLIP ViT-B/32 with 32 frames of 50 tokens: what goes through each of its 12 blocks, and their layers."""


def spent(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the processor, of all threads: the program's own and the kernel's."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime


def products() -> tuple[Callable[[], None], int]:
    """The products of one pass through CLIP's blocks, and the operations in them."""
    weights = [torch.randn(wide, narrow) for narrow, wide in LAYERS]
    rows = {width: torch.randn(ROWS, width) for width in (768, 3072)}

    def run() -> None:
        with torch.inference_mode():
            for _ in range(12):
                for weight in weights:
                    F.linear(rows[weight.shape[1]], weight)

    return run, 12 * sum(2 * ROWS * narrow * wide for narrow, wide in LAYERS)


def compare(name: str, encoder: FrameEncoder, frames: int, turns: int) -> None:
    """Print a line about an encoder."""
    rng = np.random.default_rng(0)
    side = min(encoder.size, 256)
    images = [rng.integers(0, 255, (side, side * 4 // 3, 3), dtype=np.uint8) for _ in range(frames)]
    previous = [None, *images[:-1]] if encoder.needs_previous else None
    with FlopCounterMode(display=False) as counter:
        encoder.encode(images[:8], previous and previous[:8])
    work = counter.get_total_flops() / min(8, frames) * frames
    multiply, operations = products()
    multiply()
    own = kernel = of_products = 0.0
    clock: list[float] = []
    for _ in range(turns):
        of_products += sum(spent(multiply))
        started = time.perf_counter()
        more_own, more_kernel = spent(lambda: encoder.encode(images, previous))
        clock.append(time.perf_counter() - started)
        own, kernel = own + more_own, kernel + more_kernel
    peak = operations * turns / of_products
    share = f"{work * turns / (own + kernel) / peak:.0%}" if work else "-"
    print(
        f"{name:24}{frames / min(clock):10.1f}{frames * turns / (own + kernel):22.1f}"
        f"{kernel / (own + kernel):14.1%}{share:>26}{peak / 1e9:16.0f} GF/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--clip-frames", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{'encoder':24}{'frames/s':>10}{'a second of one core':>22}{'in the kernel':>14}"
        f"{'share of the matrix rate':>26}{'matrix rate':>21}"
    )
    compare("shapes of the demo", ShapeFrames(), options.frames, options.turns)
    try:
        compare("small", frame_encoder("small"), options.frames, options.turns)
    except InputError as error:
        print(f"small: {error}")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        CLIPModel(CLIPConfig()).save_pretrained(folder)
        CLIPImageProcessorPil().save_pretrained(folder)
        compare("CLIP ViT-B/32, random", frame_encoder(folder), options.clip_frames, options.turns)


if __name__ == "__main__":
    main()
