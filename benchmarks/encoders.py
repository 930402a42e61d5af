"""Encoding: frames a second of the built-in descriptor, and of a random model of CLIP's size against the matrix rate.

    python benchmarks/encoders.py [--frames 256] [--clip-frames 32]

The CLIP is a ViT-B/32 with random weights, made with the library's own classes: what it computes is noise, what it
costs is what CLIP costs. Preparing the pictures (scaling, normalising) is counted.
"""

import argparse
import tempfile

import numpy as np
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from gmmformer.demo.encoders import ShapeFrames
from gmmformer.media.encoders import FrameEncoder, frame_encoder
from training import matrix_rate, seconds


def rate(encoder: FrameEncoder, frames: int) -> float:
    """Frames a second, the best of three."""
    rng = np.random.default_rng(0)
    side = min(encoder.size, 256)
    images = [rng.integers(0, 255, (side, side * 4 // 3, 3), dtype=np.uint8) for _ in range(frames)]
    previous = [None, *images[:-1]] if encoder.needs_previous else None
    encoder.encode(images[:4])
    return frames / min(seconds(lambda: encoder.encode(images, previous), "cpu") for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--clip-frames", type=int, default=32)
    options = parser.parse_args()
    peak = matrix_rate(torch.float32, "cpu")
    print(f"{'encoder':28}{'frames/s':>10}{'share of the matrix rate':>28}")
    print(f"{'shapes of the demo':28}{rate(ShapeFrames(), options.frames):10.0f}{'-':>28}")
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig())
        model.save_pretrained(folder)
        CLIPImageProcessorPil().save_pretrained(folder)
        vision = sum(p.numel() for p in model.vision_model.encoder.parameters())
        # Two operations a weight and token; 49 patches and the class token.
        work = 2 * vision * 50
        found = rate(frame_encoder(folder), options.clip_frames)
        print(f"{'CLIP ViT-B/32, random':28}{found:10.1f}{found * work / peak:28.0%}")
    print(f"matrix products {peak / 1e9:,.0f} GF/s in float32")


if __name__ == "__main__":
    main()
