"""What is known to be right for the sentences of a split: from where to where their moments go, and which videos."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from gmmformer.data.captions import Captions
from gmmformer.data.collection import Collection
from gmmformer.errors import InputError, one_line, shown
from gmmformer.files import MOST_TEXT, lookalikes, read_json, read_text


def read_moments(collection: Collection, split: str) -> Int[np.ndarray, "queries 2"] | None:
    """The first row of each sentence's moment and the row after its last; -1, -1 where a sentence has none.

    None where none is known: the collection has no moments.tsv, or it says nothing of the split. Its lines are caption
    id, first row, row after the last and, if anybody cares, rows of the video, with tabs between.

    Raises:
        InputError: A line is none such, names no rows of its video, or is there twice; the message names it.
    """
    path = collection.root / collection.name / "moments.tsv"
    if not path.exists():
        return None
    captions = collection.captions(split)
    place = {caption_id: query for query, caption_id in enumerate(captions.caption_ids)}
    found = np.full((len(place), 2), -1)
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        caption_id, *columns = line.split("\t")
        query = place.get(caption_id)
        if query is None:
            continue
        if len(columns) < 2 or not all(column.isdecimal() and len(column) < 10 for column in columns[:2]):
            raise InputError(
                f"{path}, line {number}: {shown(line)} is not caption id, first row, row after the last with tabs "
                "between; mend or remove it"
            )
        first, after = int(columns[0]), int(columns[1])
        count = collection.frames.count_of(captions.video_ids[captions.video_of_query[query]])
        if not first < after <= count:
            raise InputError(
                f"{path}, line {number}: rows {first} to {after} are no moment of a video of {count} rows; mend or "
                "remove the line"
            )
        if found[query, 0] >= 0:
            raise InputError(f"{path}, line {number}: caption {shown(caption_id)} is there twice; remove one")
        found[query] = first, after
    return found if (found >= 0).any() else None


def read_right_videos(path: Path, captions: Captions) -> Int[np.ndarray, "pairs 2"]:
    """Every pair of a sentence and a video that is right for it, as indices into `captions`, sentence after sentence.

    The file is one JSON object: caption id to the ids of all videos that are right for it, such as
    `{"a#enc#0": ["a", "b"]}`. A sentence that it does not name has its own video alone.

    Raises:
        InputError: The file is none such, or names a sentence or a video that the split does not have.
    """
    remedy = 'give one JSON object, {"CAPTION ID": ["VIDEO", ...], ...}'
    try:
        told = read_json(path, MOST_TEXT)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}); {remedy}") from error
    if not isinstance(told, dict):
        raise InputError(f"{path}: holds no object; {remedy}")
    queries = set(captions.caption_ids)
    place = {video_id: video for video, video_id in enumerate(captions.video_ids)}
    for caption_id, videos in told.items():
        where = f"{path}, caption {shown(caption_id)}"
        if caption_id not in queries:
            raise InputError(
                f"{where}: the split has no such caption{lookalikes(caption_id, queries)}; remove it, or name the "
                "split that has it with --split"
            )
        if not isinstance(videos, list) or not videos or not all(isinstance(video, str) for video in videos):
            raise InputError(f"{where}: {shown(videos)} is no list of videos; {remedy}")
        for video in videos:
            if video not in place:
                raise InputError(
                    f"{where}: the split has no video {shown(video)}{lookalikes(video, place)}; remove it there"
                )
    pairs = []
    for query, caption_id in enumerate(captions.caption_ids):
        own = (captions.video_ids[captions.video_of_query[query]],)
        pairs += [(query, place[video]) for video in dict.fromkeys(told.get(caption_id, own))]
    return np.array(pairs, dtype=np.int64)
