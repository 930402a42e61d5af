"""What GMMFormer is worth with few captions, on real clips that it has not seen: python benchmarks/few.py CLIPS

CLIPS holds clips/*.mp4 and sentences.json, {clip's name without suffix: [sentence, ...]}. For each seed the clips are
drawn into two halves. Of each half three quarters are the subject of a film each, between two to five of the others, so
that a sentence belongs to one film; the films of one half train (a quarter of them chooses the epoch), those of the
other are searched. Films are composed of the clips' feature rows.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from gmmformer.config import DecodeConfig, Running
from gmmformer.data import Collection
from gmmformer.data.writing import tokens_file, write_captions, write_row_names, write_tokens
from gmmformer.evaluation import Metrics, baselines, chance, evaluate
from gmmformer.media.annotations import Annotation
from gmmformer.media.encoders import frame_encoder, text_encoder
from gmmformer.media.extract import extract
from gmmformer.model import load_model
from gmmformer.model.torch_files import read_torch_file
from gmmformer.training import train

WAYS: dict[str, dict[str, Any]] = {
    "random, --hidden 128 --lr 1e-3 --batch-size 32": {"hidden": 128, "lr": 1e-3, "batch_size": 32},
    "--preset few": {"preset": "few"},
}
Films = list[tuple[str, list[str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--video-encoder", default="small")
    parser.add_argument("--text-encoder", default="small")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--share", type=float, default=0.5, help="of the clips that train")
    given = parser.parse_args()
    sentences: dict[str, list[str]] = json.loads((given.clips / "sentences.json").read_text())
    found: dict[str, list[Metrics]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = featurised(given, sentences, folder)
        for seed in range(given.seeds):
            films = composed(sorted(sentences), given.share, random.Random(seed))
            collection = written(folder / str(seed), films, clips)
            for way, metrics in measured(collection, folder / f"runs{seed}", seed).items():
                found.setdefault(way, []).append(metrics)
            tell(found)


def featurised(given: argparse.Namespace, sentences: dict[str, list[str]], folder: Path) -> Collection:
    annotations = [
        Annotation(video=clip, sentence=sentence, split="train")
        for clip, some in sentences.items()
        for sentence in some
    ]
    running = Running()
    extract(
        [given.clips / "clips"],
        folder,
        "clips",
        frames=frame_encoder(given.video_encoder, running),
        text=text_encoder(given.text_encoder, running),
        annotations=annotations,
        feature="f",
        decode=DecodeConfig(fps=1.0),
    )
    return Collection.open(folder, "clips")


def composed(clips: list[str], share: float, rng: random.Random) -> dict[str, Films]:
    rng.shuffle(clips)
    cut = round(share * len(clips))
    seen, unseen = films_of(clips[:cut], rng), films_of(clips[cut:], rng)
    held_out = max(3, round(len(seen) / 4))
    return {"val": seen[:held_out], "train": seen[held_out:], "test": unseen}


def films_of(clips: list[str], rng: random.Random) -> Films:
    between = clips[: max(2, len(clips) // 4)]
    films = []
    for subject in clips[len(between) :]:
        parts = [*rng.sample(between, min(rng.randint(2, 5), len(between))), subject]
        rng.shuffle(parts)
        films.append((subject, parts))
    return films


def written(root: Path, films: dict[str, Films], clips: Collection) -> Collection:
    text, features = root / "films" / "TextData", root / "films" / "FeatureData" / "f"
    text.mkdir(parents=True)
    features.mkdir(parents=True)
    for ours, theirs in ((text, clips.text.path.parent), (features, clips.frames.folder)):
        shutil.copy(theirs / "extraction.json", ours)
    captions = clips.captions("train")
    about: dict[str, list[int]] = {}
    for query, video in enumerate(captions.video_of_query.tolist()):
        about.setdefault(captions.video_ids[video], []).append(query)
    rows: list[np.ndarray] = []
    lengths: dict[str, int] = {}
    with tokens_file(text / "roberta_films_query_feat.hdf5") as file:
        for split, some in films.items():
            ids: list[str] = []
            asked: list[int] = []
            for number, (subject, parts) in enumerate(some):
                whole = np.concatenate([clips.frames.features_of(part) for part in parts])
                lengths[f"{split}{number}"] = len(whole)
                rows.append(whole)
                ids += [f"{split}{number}#enc#{n}" for n in range(len(about[subject]))]
                asked += about[subject]
            write_captions(text / f"films{split}.caption.txt", ids, [captions.sentences[query] for query in asked])
            write_tokens(file, ids, [clips.text.tokens_of(captions.caption_ids[query]) for query in asked])
    matrix = np.concatenate(rows).astype("<f4")
    (features / "feature.bin").write_bytes(matrix.tobytes())
    (features / "shape.txt").write_text(f"{len(matrix)} {matrix.shape[1]}")
    write_row_names(features, lengths)
    return Collection.open(root, "films")


def measured(collection: Collection, runs: Path, seed: int) -> dict[str, Metrics]:
    found = dict(baselines(collection, "test").metrics)
    for number, (way, settings) in enumerate(WAYS.items()):
        end = train(collection, runs / str(number), seed=seed, log_every=1000, **settings)
        model = load_model(runs / str(number))
        found[way] = evaluate(model, collection, "test").metrics
        print(f"seed {seed}, {way}: best epoch {end.best_epoch} of {end.epochs}", file=sys.stderr, flush=True)
        model.load_state_dict(read_torch_file(runs / str(number) / "state.pt")["model"])
        found[f"{way}, last epoch"] = evaluate(model, collection, "test").metrics
    return found | {"chance": chance(found[way].videos, found[way].queries)}


def tell(found: dict[str, list[Metrics]]) -> None:
    print("| | R@1 | R@5 | R@10 | SumR |\n| --- | --- | --- | --- | --- |")
    for way, metrics in found.items():
        numbers = np.array([[*each.recall[:3], each.sum_recall] for each in metrics])
        cells = [f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(numbers.mean(0), numbers.std(0), strict=True)]
        print(f"| {way} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
