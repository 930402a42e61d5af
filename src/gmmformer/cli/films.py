"""Commands on films: extract, demo."""

import functools
import json as json_format
import sys
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from gmmformer.cli.terminal import bars, film_bar, telling
from gmmformer.config import DecodeConfig, Running
from gmmformer.errors import InputError

NO_VIDEO_ENCODER = (
    "--video-encoder is missing: name what turns frames into features, an image model such as facebook/dinov2-base "
    "(0.35 GB) or a CLIP-like one such as openai/clip-vit-large-patch14 (1.7 GB; finds most, and wants a GPU) by its "
    "folder or its Hub name, to be fetched once with --allow-download, or code of your own as package.module:factory, "
    "which costs what it does"
)
NO_TEXT_ENCODER = (
    "--text-encoder is missing, which --captions needs: name what turns sentences into token features, a model such as "
    "FacebookAI/roberta-base (0.5 GB) or a CLIP-like one by its folder or its Hub name, to be fetched once with "
    "--allow-download, or code of your own as package.module:factory, which costs what it does"
)


def extract(
    films: Positional[tuple[Path, ...]],
    *,
    out: Path,
    collection: str,
    captions: tuple[str, ...] = (),
    captions_format: str = "auto",
    skip_broken: bool = False,
    video_encoder: str | None = None,
    text_encoder: str | None = None,
    feature: str | None = None,
    seed: int = 9527,
    device: str = "auto",
    precision: Literal["float32", "bf16", "fp16"] = "float32",
    batch_size: int = 32,
    allow_download: bool = False,
    ray: str | None = None,
    json: bool = False,
    decode: DecodeConfig = DecodeConfig(),
) -> int:
    """Turn films, and sentences about them, into a collection: gmmformer extract FILMS --out ROOT --collection NAME

    The same command again does only what is missing or changed. Films that cannot be read are listed at the end and in
    failures.jsonl. Exit code 1 if no film could be read.

    Args:
        films: Film files, and folders to search for them.
        out: Folder of collections.
        collection: Name of the collection, a folder in it.
        captions: Files with sentences about the films; SPLIT=FILE where a file is one split (train=train.jsonl).
        captions_format: auto, jsonl, csv, activitynet, charades, tvr or qvhighlights.
        skip_broken: Leave out broken records of the captions, and say how many, rather than stop at the first.
        video_encoder: What turns frames into features: a hub id or folder of CLIP, SigLIP, DINOv2 and the like, or your
            own package.module:factory.
        text_encoder: What turns sentences into token features: a hub id or folder of RoBERTa, CLIP, a sentence encoder
            and the like, or your own package.module:factory. Needed with --captions.
        feature: Folder of the features under FeatureData. Default: named after the video encoder.
        seed: Draws train, val and test where the captions give no split.
        device: "auto", "cpu", "cuda" or "mps": where the encoders run.
        precision: What the encoders multiply matrices in.
        batch_size: Frames, or sentences, in one forward pass.
        allow_download: Whether encoders may be fetched from the Hugging Face Hub.
        ray: Address of a Ray cluster that does the work ("auto": the one running here).
        json: Print one JSON object at the end, and nothing else, on stdout.
        decode: How films are decoded.
    """
    from gmmformer.media import encoders
    from gmmformer.media.annotations import read_captions_files
    from gmmformer.media.extract import extract as extract_films

    if video_encoder is None:
        raise InputError(NO_VIDEO_ENCODER)
    if captions and text_encoder is None:
        raise InputError(NO_TEXT_ENCODER)
    broken: list[InputError] = []
    annotations = read_captions_files(captions, captions_format, on_broken=broken.append if skip_broken else None)
    running = Running(device=device, precision=precision, batch_size=batch_size, allow_download=allow_download)
    source: dict[str, Any] = {}
    if ray is not None:
        from gmmformer.media.cluster import featurise_on

        source["source"] = featurise_on(ray, functools.partial(encoders.frame_encoder, video_encoder, running))
    with film_bar() as progress:
        report = extract_films(
            films,
            out,
            collection,
            frames=encoders.frame_encoder(video_encoder, running),
            text=None if text_encoder is None else encoders.text_encoder(text_encoder, running),
            annotations=annotations,
            feature=feature,
            decode=decode,
            seed=seed,
            progress=progress,
            **source,
        )
    if broken:
        print(f"left out {len(broken):,} broken records of the captions, the first: {broken[0]}", file=sys.stderr)
    print(json_format.dumps(report.as_dict()) if json else report.table())
    return 0 if report.records else 1


def demo(out: Positional[Path], *, films: int = 240, seed: int = 9527, json: bool = False) -> int:
    """Render small films, extract, train, evaluate on films not seen, index and search those: gmmformer demo OUT

    A few minutes on two cores. Nothing is downloaded.

    Args:
        out: Folder to work in.
        films: Films to render.
        seed: The world of the films, and the training.
        json: Print one JSON object at the end, and nothing else, on stdout.
    """
    from gmmformer.cli.searching import print_hits
    from gmmformer.demo.run import run_demo
    from gmmformer.evaluation import metrics_table

    with bars() as progress:
        end = run_demo(out, films=films, seed=seed, progress=progress, **telling(json))
    if json:
        paths = {name: str(getattr(end, name)) for name in ("model", "library", "contact_sheet", "curves")}
        print(json_format.dumps({**end.metrics.as_dict(), "chance": end.chance.as_dict(), **paths}))
        return 0
    print(metrics_table({"model": end.metrics, "chance": end.chance}))
    times = end.metrics.recall[0] / end.chance.recall[0]
    print(f"R@1 is {times:.0f} times chance, over {end.metrics.videos} films and {end.metrics.queries} sentences\n")
    for sentence, hits, seconds in end.searches:
        print(f'gmmformer search {end.library} "{sentence}" -k 3')
        print_hits(hits, end.metrics.videos, seconds)
        print()
    print(f"what was found   {end.contact_sheet}\ntraining curves  {end.curves}\nthe model        {end.model}")
    print(f"the library      {end.library}\nto see it in a browser: gmmformer serve {end.library}")
    return 0
