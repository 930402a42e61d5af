"""What goes over the wire as JSON. All times are seconds, counted from a film's first frame."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from gmmformer.search.calibration import Word
from gmmformer.search.words import Source

MOST_SENTENCE = 10_000
"""Characters of a sentence."""
MOST_QUERIES = 64
"""Sentences of a request, and of a batch that is embedded at once."""
MOST_HITS = 100
"""Films of one answer."""
MOST_SKIPPED = 9_900
"""Films that may be passed over: with those of an answer as many as a library finds."""
MOST_MOMENTS, MOST_IN_FILM = 10, 100
"""Moments of each film of an answer, and of one film that is asked about alone."""
MOST_ANSWERED = 6_400
"""Moments that one request may ask for: sentences times films times moments of each."""
MOST_GLOB = 1_000
"""Characters of a filter by path."""
MOST_PICKED = 1_000
"""Moments of an export."""
MOST_ID = 2**53 - 1
MOST_LOOKED = 60.0
"""Seconds of a film in which shots are looked for at once."""
MOST_LINES = 100_000
"""Pixels of the shorter side of a frame."""
LONGEST = 1e7
"""Seconds; no film is longer."""

Sentence = Annotated[
    str, StringConstraints(min_length=1, max_length=MOST_SENTENCE), Field(description="A sentence: what is to be seen.")
]
FilmId = Annotated[int, Field(ge=1, le=MOST_ID, description="The film's id in the library.")]
Second = Annotated[float, Field(ge=0, le=LONGEST, allow_inf_nan=False)]
ExportFormat = Literal["edl", "fcpxml", "xml", "otio", "csv", "json"]
_WHOLE_PATH = re.compile(r"(/|[A-Za-z]:[\\/]|\\\\).*", re.ASCII)


def _whole_path(text: str) -> str:
    if not text.isprintable() or not _WHOLE_PATH.fullmatch(text):
        told = "must be a whole path in plain text, such as /Volumes/Films or Z:\\Films."
        raise PydanticCustomError("path", "{told}", {"told": told})
    return text


Folder = Annotated[str, StringConstraints(max_length=MOST_GLOB), AfterValidator(_whole_path)]
"""A whole path, of whatever system."""


class Model(BaseModel):
    """What all of these have in common."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str = Field(description="What kind of problem; about:blank where the status says it all.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(ge=400, le=599, description="The HTTP status.")
    detail: str = Field(description="One sentence for a person.")


class Strip(Model):
    """The score of a film along its seconds, in at most 240 pieces."""

    edges: list[float] = Field(description="Seconds between which the pieces lie, ascending: one more than scores.")
    scores: list[float] = Field(description="Best score within each piece, in [-1, 1].")


class Playing(Model):
    """Whether a film can be seen."""

    available: bool = Field(description="Whether its file is where it was, unchanged since it was indexed.")
    playable: bool = Field(description="Whether a browser can play the file as it is; else ask for a preview.")
    reason: str | None = Field(description="Why it is not playable or not available; null if it is both.")


class Names(Model):
    """A film's names, and its length."""

    id: FilmId
    film: str = Field(description="Path of the film; bytes that are no UTF-8 as backslash escapes.")
    name: str = Field(description="The last part of the path.")
    folder: str = Field(description="The path without its last part.")
    length: float = Field(description="Seconds of the whole film.")


class Named(Names, Playing):
    """A film, and whether it can be seen."""


class WhyOut(Model):
    """Something that a film was found for."""

    source: Source = Field(description="How it looks, its name, or what is said or written, which has what follows.")
    start: float = Field(0.0, description="Second at which the lines begin.")
    end: float = Field(0.0, description="Second at which they end.")
    score: float = Field(1.0, description="How much of the sentence is said there, in (0, 1].")
    text: str = Field("", description="The lines, with line breaks between them.")
    marks: list[tuple[int, int]] = Field([], description="From which character to which words of the sentence stand.")
    language: str = Field("", description="Of the lines, such as en; empty where it is not told.")
    track: str = Field("", description="Where they come from: a file, a stream of the film, speech.")


class HitOut(Named):
    """A moment of a film that matches a sentence."""

    start: float = Field(description="Second at which the moment begins.")
    end: float = Field(description="Second at which it ends.")
    score: float = Field(description="Retrieval score of the moment's best clip, in [-1, 1].")
    strength: float | None = Field(
        description="Which share of sentences about nothing in particular has a best film here that stands out less; "
        "null in a library that is not calibrated."
    )
    word: Word | None = Field(
        description="The strength in words; null where it was not seen that they mean something with this model."
    )
    named: bool = Field(description="Whether all words of the sentence stand in the path of the film, or of a copy.")
    copies: list[str] = Field(description="Paths of other films that were found and show the same thing, best first.")
    strip: Strip | None = Field(
        description="The scores along the whole film; null if not asked for, where how it looks was not looked at, and "
        "in a film's moments after its first."
    )
    why: list[WhyOut] = Field([], description="Why it is here; left out in a library in which nothing is said.")


class SearchOut(Model):
    """What was found for a sentence."""

    query: str = Field(description="The sentence; empty without one.")
    hits: list[HitOut] = Field(description="Moments, best film first; those of a film follow each other.")
    seconds: float = Field(description="Seconds that the server took, waiting for other sentences included.")
    word: Word | None = Field(description="The best of the hits' words; null without any.")
    films: int = Field(description="Films in the library.")
    unknown: list[str] = Field(
        [],
        description="Words of the sentence that the model does not know; left out where none is known to be.",
    )


class Listed(BaseModel):
    """What is asked of a list of hits, whatever they are found for."""

    k: int = Field(12, ge=1, le=MOST_HITS, description="Films to find for each sentence.")
    skip: int = Field(
        0, ge=0, le=MOST_SKIPPED, description="Films to pass over, best first: with the same k, the next ones."
    )
    moments: int = Field(1, ge=1, le=MOST_MOMENTS, description="Most moments of each film.")
    where: str | None = Field(
        None,
        max_length=MOST_GLOB,
        description="Only films whose path fits this glob: * any letters, slashes too, ? one, [ab] one of these.",
    )
    min_length: Second | None = Field(None, description="Only films of at least so many seconds.")
    fold: bool = Field(True, description="Whether films that show the same thing are one hit, that of the best.")
    strips: bool = Field(True, description="Whether to send the scores along each film.")


class Asked(Listed):
    """What is asked beside a sentence."""

    within: list[Source] | None = Field(
        None,
        max_length=4,
        description="What to look in: how films look, what is said and written in them, names; null for all, but for a "
        "sentence with words in quotes all but how they look.",
    )


class SearchQuery(Asked):
    """A sentence to search for."""

    q: Sentence


class SearchIn(Asked, Model):
    """Several sentences to search for, with the same filters."""

    queries: list[Sentence] = Field(min_length=1, max_length=MOST_QUERIES, description="Sentences, at most 64.")


class SearchesOut(Model):
    """What was found for several sentences."""

    results: list[SearchOut] = Field(description="One for each sentence, in their order.")


class RemovedFilmOut(Names):
    """A film that was taken out of the library."""

    id: FilmId = Field(description="The id that it had; by it, it is brought back.")


class FilmOut(Named):
    """A film of the library."""

    lines: int | None = Field(
        description="Pixels of the shorter side of its frames, such as 1080; null where it was not looked at."
    )


class FilmsQuery(BaseModel):
    """Which films, and in which order."""

    offset: int = Field(0, ge=0, le=MOST_ID, description="Films to pass over.")
    limit: int = Field(50, ge=1, le=500, description="Most films of the page.")
    q: str = Field("", max_length=1_000, description="Only films whose path holds this text, in any case.")
    folder: str = Field("", max_length=4_000, description="Only films in this folder, or anywhere below it.")
    min_lines: int = Field(0, ge=0, le=MOST_LINES, description="Only films whose frames have at least so many lines.")
    max_lines: int | None = Field(
        None, ge=0, le=MOST_LINES, description="Only films whose frames have at most so many."
    )
    sort: Literal["added", "name", "length", "date"] = Field(
        "added", description="added: as they came; name; length: shortest first; date: of their files, oldest first."
    )
    descending: bool = Field(False, description="Whether the other way round.")


class FilmsOut(Model):
    """A page of the library's films."""

    total: int = Field(description="Films that fit the question, on all pages.")
    films: list[FilmOut] = Field(description="Those of this page, in that order.")
    unlooked: int = Field(
        0, description="With min_lines or max_lines: films left out since they were not looked at yet; ask again."
    )


class MomentOut(Model):
    """A moment of the film that was asked for."""

    start: float = Field(description="Second at which it begins.")
    end: float = Field(description="Second at which it ends.")
    score: float = Field(description="Retrieval score of its best clip, in [-1, 1].")
    word: Word | None = Field(description="How well it matches, in words; null as for a hit.")


class ClipsOut(Model):
    """How well each stretch of a film matches a sentence, and its best moments."""

    id: FilmId
    query: str = Field(description="The sentence.")
    edges: list[float] = Field(description="Seconds between which the stretches lie: one more than scores.")
    scores: list[float] = Field(description="Score of each stretch, in [-1, 1].")
    moments: list[MomentOut] = Field(description="The film's moments that match best, best first.")


class ShotsOut(Model):
    """Where shots of a film begin."""

    id: FilmId
    rate: float | None = Field(description="Frames per second that the film claims; null if it does not.")
    shots: list[float] = Field(description="Seconds, within those asked for, at which another shot begins.")


class FailureOut(Model):
    """A film that could not be taken into the library."""

    film: str = Field(description="Path of the film; bytes that are no UTF-8 as backslash escapes.")
    reason: str = Field(description="Why, in words.")


class ActivityOut(Model):
    """What is being done to the library now, by whatever process."""

    what: str = Field(description='Such as "indexing".')
    done: int = Field(description="Films done.")
    total: int = Field(description="Films to be done in all.")
    failed: int = Field(description="Films among those done that could not be taken in.")
    seconds_left: float | None = Field(description="Seconds that the rest will take, if that can be told.")


class CountsOut(Model):
    """How much there is in the library; what the event "library" of /api/events says."""

    films: int = Field(description="Films in the library.")
    seconds: float = Field(description="Seconds of all films together.")
    failed: int = Field(description="Films that could not be taken in.")


class LibraryOut(Model):
    """What the library holds."""

    films: int = Field(description="Films in the library.")
    seconds: float = Field(description="Seconds of all films together.")
    failures: list[FailureOut] = Field(description="Films that could not be taken in, at most the first 1,000.")
    folders: list[str] = Field(description="Folders that films lie in, sorted, at most the first 1,000.")
    sources: list[Source] = Field(description="What a search can look in.")
    model: str = Field(description="Name of the model that the library belongs to.")
    engine: str = Field(description="What searches it: exact, ann, or the address of a Milvus server.")
    bytes: int = Field(description="Bytes of the library on disk, films not included.")
    activity: ActivityOut | None = Field(description="What is being done to it now; null if nothing is.")
    locked: bool = Field(description="Whether the server wants a token, so that a browser can log out.")
    changeable: bool = Field(description="Whether films can be added and taken out here: the server has --roots.")
    keeps_trays: bool = Field(description="Whether people's trays are kept here: there is a token, and room for them.")
    uploads: int = Field(description="Bytes that a film sent to /api/upload may have; 0: none is taken.")


class MomentIn(Model):
    """A moment that a person picked."""

    id: FilmId
    start: Second = Field(description="Second at which it begins.")
    end: Second = Field(description="Second at which it ends.")
    query: Annotated[str, StringConstraints(max_length=MOST_SENTENCE)] = Field(
        "", description="The sentence that it was found by."
    )
    name: Annotated[str, StringConstraints(max_length=200)] = Field(
        "", description="What the clip is to be called; empty: as the film's file."
    )
    note: Annotated[str, StringConstraints(max_length=2_000)] = Field("", description="What is noted about it.")


class ElsewhereIn(Model):
    """Where the films of a folder lie on the machine that the export is for."""

    here: Folder = Field(description="A folder of films, as the library has it.")
    there: Folder = Field(description="The same folder as that machine knows it, such as /Volumes/Films or Z:\\Films.")


class ExportIn(Model):
    """The moments that a person picked, in the order in which they are to be."""

    moments: list[MomentIn] = Field(min_length=1, max_length=MOST_PICKED, description="At most 1,000.")
    handles: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = Field(
        0.0, description="Seconds that each clip has before and after its moment, as far as its film has them."
    )
    elsewhere: ElsewhereIn | None = Field(None, description="Paths for another machine; null: as they are here.")


class CutsIn(Model):
    """The moments that a person picked, to be cut."""

    moments: list[MomentIn] = Field(min_length=1, max_length=MOST_PICKED, description="At most 1,000.")
