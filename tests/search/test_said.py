"""What is said in films: kept with them, found with them."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from test_indexing import Source, take_in
from tests_search_helpers import Plain, compacted, drawn_film, put, unit_queries

from gmmformer.cli import main
from gmmformer.cli.searching import print_hits
from gmmformer.errors import InputError
from gmmformer.media.speech import Speech
from gmmformer.media.subtitles import Line, Track
from gmmformer.media.written import Written
from gmmformer.search import Hit, Library, bring_back, unchanged, verify
from gmmformer.search.changes import IndexReport
from gmmformer.search.database import DATABASE, has_lines
from gmmformer.search.fusing import Asked, fused
from gmmformer.search.lines import OWN, terms_in
from gmmformer.search.quotes import Quote
from gmmformer.search.words import search_words

BREAKFAST = [
    "Good morning, my dear.",
    "I had a terrible dream about a submarine",
    "full of cheese.",
    "Pass the marmalade.",
]
GERMAN = ["Guten Morgen!", "Die STRASSE nach Zürich", "ist gesperrt."]
OTHERS = ["明日は東京へ行きたい", "مرحبا بكم في القاهرة", "서울에서 만나요"]


def srt(lines: list[str], first: float = 1.0, step: float = 3.0) -> str:
    def clock(seconds: float) -> str:
        return f"00:{int(seconds) // 60:02d}:{int(seconds) % 60:02d},{round(seconds % 1 * 1000):03d}"

    return "\n".join(
        f"{place + 1}\n{clock(first + step * place)} --> {clock(first + step * place + 2)}\n{line}\n"
        for place, line in enumerate(lines)
    )


class Ears(Speech):
    """Hears in films that are text files what stands for their text; `Speech` itself is tried where real films are."""

    def __init__(self, identity: str = "whisper-any", everywhere: bool = False, **said: str) -> None:
        self.identity, self.everywhere, self.said = identity, everywhere, said
        self.heard: list[str] = []

    def of(
        self, film: str, length: float, on_seconds: Callable[[float], None] = lambda seconds: None
    ) -> tuple[list[Track], list[str]]:
        name = Path(film).stem
        self.heard.append(name)
        on_seconds(length)
        if name not in self.said:
            return [], ["it has no sound, so nothing is said in it"]
        return [Track(kind="speech", name="speech", language="en", lines=[Line(5.0, 7.0, self.said[name])])], []


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Four films of 20 s, which have something to say in three."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name, seed in {"a.mp4": 1, "b.mkv": 2, "c.mp4": 3, "silent.mp4": 4}.items():
        (folder / name).write_text(str(seed))
    (folder / "a.en.srt").write_text(srt(BREAKFAST))
    (folder / "b.ger.srt").write_bytes(srt(GERMAN).encode("cp1252"))
    (folder / "c.srt").write_text(srt(OTHERS))
    return folder


@pytest.fixture
def heard(tmp_path: Path, films: Path) -> Library:
    library = Library.create(tmp_path / "library", Plain())
    report = take_in(library, [films], Source())
    assert {Path(path).name: lines for path, lines in report.said.items()} == {"a.mp4": 4, "b.mkv": 3, "c.mp4": 3}
    return library


def said(library: Library, sentence: str, **wanted: object) -> list[tuple[str, float, float, str]]:
    """Film, seconds, and what is marked of each hit by what is said."""
    return [told(hit) for hit in library.search(sentence, within=["said"], **wanted)]  # type: ignore[arg-type]


def told(hit: Hit) -> tuple[str, float, float, str]:
    (quote,) = hit.quotes
    return Path(hit.film.path).name, hit.start, hit.end, " ".join(quote.text[start:end] for start, end in quote.marks)


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("marmalade", ("a.mp4", 10.0, 12.0, "marmalade")),
        ("MARMALADE, please!", ("a.mp4", 10.0, 12.0, "marmalade")),
        ("a submarine full of cheese", ("a.mp4", 4.0, 9.0, "submarine full cheese")),  # over two lines
        ('"submarine full of cheese"', ("a.mp4", 4.0, 9.0, "submarine\nfull of cheese")),
        ("strasse zurich", ("b.mkv", 4.0, 6.0, "STRASSE Zürich")),
        ("Straße", ("b.mkv", 4.0, 6.0, "STRASSE")),
        ("東京", ("c.mp4", 1.0, 3.0, "東京")),
        ("京", ("c.mp4", 1.0, 3.0, "京")),
        ("東京へ行きたい", ("c.mp4", 1.0, 3.0, "東京へ行きたい")),
        ("القَاهِرَة", ("c.mp4", 4.0, 6.0, "القاهرة")),
        ("서울", ("c.mp4", 7.0, 9.0, "서울")),
    ],
)
def test_what_is_said_is_found_with_its_seconds(
    heard: Library, sentence: str, found: tuple[str, float, float, str]
) -> None:
    assert said(heard, sentence)[0] == found


@pytest.mark.parametrize("sentence", ['"full of submarine"', '"cheese submarine"', "xylophone", "?!", '"of cheeses"'])
def test_what_is_not_said_is_not_found(heard: Library, sentence: str) -> None:
    assert said(heard, sentence) == []


def test_words_in_passages_one_after_the_other_are_found_together(tmp_path: Path, films: Path) -> None:
    lines = [f"number{place} word" for place in range(3 * OWN)]
    (films / "a.en.srt").write_text(srt(lines, step=0.5))
    with Library.create(tmp_path / "library", Plain()) as library:
        take_in(library, [films], Source())
        for place in range(len(lines) - 1):
            (hit,) = library.search(f'"number{place} word number{place + 1}"', within=["said"])
            assert hit.start == pytest.approx(1 + 0.5 * place)
        film = hit.film
        assert len(library.search("word", 5, within=["said"], moments=9)) == 3
        assert {hit.film for hit in library.search("word", 5, within=["said"], moments=9)} == {film}


def test_one_list_says_why_each_hit_is_there(heard: Library, capsys: pytest.CaptureFixture[str]) -> None:
    hits = heard.search("I had a terrible dream about a submarine", 4)
    assert Path(hits[0].film.path).name == "a.mp4"
    assert (hits[0].start, hits[0].end, hits[0].sources) == (4.0, 6.0, frozenset({"said"}))
    assert hits[0].to_dict()["why"] == [
        {
            "source": "said",
            "start": 4.0,
            "end": 6.0,
            "score": 1.0,
            "text": BREAKFAST[1],
            "marks": [[8, 16], [17, 22], [31, 40]],
            "language": "en",
            "track": "a.en.srt",
        }
    ]
    assert len({hit.film.id for hit in hits}) == 4
    assert [hit.to_dict()["why"] for hit in hits[1:]] == [[{"source": "picture"}]] * 3
    print_hits(hits, 4, 0.1)
    shown = capsys.readouterr().out
    assert "said" in shown.splitlines()[0]
    assert "I had a *terrible* *dream* about a *submarine*" in shown.splitlines()[1]


def test_sources_narrow_what_is_looked_in(heard: Library) -> None:
    seen = heard.search("marmalade", 4, within=["picture"])
    plainly = heard.search_vectors(heard.embed(["marmalade"]), 4, fold=True)[0]
    assert [(hit.film, hit.start, hit.score) for hit in seen] == [(hit.film, hit.start, hit.score) for hit in plainly]
    assert {hit.sources for hit in seen} == {frozenset({"picture"})}
    (named,) = heard.search("silent", 4, within="name")
    assert (Path(named.film.path).name, named.start, named.end) == ("silent.mp4", 0.0, 20.0)
    assert [hit.sources for hit in heard.search("silent marmalade", 4, within="said,name")] == [frozenset({"said"})]
    with pytest.raises(InputError, match=r"--in sad: cannot be looked in; did you mean 'said'\?"):
        heard.search("marmalade", within=["sad"])
    assert said(heard, "marmalade", where="*.mkv") == []
    assert [hit[0] for hit in said(heard, "morning morgen", where="*.mkv")] == ["b.mkv"]


def test_quotes_want_the_very_words_and_no_model(heard: Library) -> None:
    (hit,) = heard.search('"terrible dream"', 4)
    assert told(hit) == ("a.mp4", 4.0, 6.0, "terrible dream")
    assert heard.search('"dream terrible"', 4) == []
    with closing(Library.open(heard.folder)) as without_a_model:
        assert without_a_model.search('"terrible dream"', 4)[0].start == hit.start


def test_a_library_in_which_nothing_is_said_answers_as_ever(tmp_path: Path) -> None:
    with Library.create(tmp_path / "library", Plain()) as library:
        put(library, [drawn_film(seed) for seed in range(5)])
        (hits, _) = library.search(["a dog", '"a dog"'], 3)
        assert len(hits) == 3
        assert not any("why" in hit.to_dict() for hit in hits)


def test_what_is_said_follows_its_films(heard: Library, films: Path) -> None:
    source = Source()
    (films / "a.en.srt").write_text(srt(["We need more paprika."]))
    assert unchanged(heard.folder, [films]) is None
    report = take_in(heard, [films], source)
    assert (source.read, list(report.said.values())) == ([], [1])
    assert unchanged(heard.folder, [films]) is not None
    assert [hit[0] for hit in said(heard, "paprika")] == ["a.mp4"]
    assert said(heard, "marmalade") == []
    (films / "b.ger.srt").unlink()
    take_in(heard, [films], source)
    assert said(heard, "strasse") == []
    film = heard.store.film(films / "a.mp4")
    assert film is not None
    heard.remove(films / "a.mp4")
    assert said(heard, "paprika") == []
    with heard.writing() as into:
        (now,) = bring_back(into, [film.id]).values()
    assert heard.search("paprika", within="said")[0].film.id == now
    heard.remove(films / "a.mp4")
    compacted(heard)
    assert said(heard, "paprika") == []
    assert said(heard, "東京")[0][0] == "c.mp4"
    assert verify(heard.store) == []
    with closing(sqlite3.connect(heard.folder / DATABASE)) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("tracks", "passages")]
    assert counts == [1, 1]


def test_a_film_and_its_lines_are_one_transaction(heard: Library, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (films / "d.mp4").write_text("9")
    (films / "d.srt").write_text(srt(["A line about llamas."]))
    with monkeypatch.context() as patch:
        patch.setattr("gmmformer.search.lines._indexed", lambda text: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take_in(heard, [films], Source())
    assert heard.store.film(films / "d.mp4") is None
    take_in(heard, [films], Source())
    assert said(heard, "llamas")[0][0] == "d.mp4"


def before(folder: Path) -> None:
    """Make a library what it was before what is said was kept."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        for name in ("said", "tracks", "passages", "heard"):
            connection.execute(f"DROP TABLE {name}")
        connection.commit()


def test_a_library_from_before_opens_and_is_added_to(heard: Library, films: Path) -> None:
    folder = heard.folder
    heard.close()
    before(folder)
    with Library.open(folder, Plain()) as library:
        assert not any("why" in hit.to_dict() for hit in library.search("marmalade", 4))
        assert unchanged(folder, [films]) is not None
        assert take_in(library, [films], Source()).said == {}
        with pytest.raises(InputError, match=r"was made before .* `gmmformer index .* --add said`"):
            library.search("marmalade", within=["said"])
        assert verify(library.store) == []
        ears = Ears(silent="A word about walnuts.")
        report = take_in(library, [films], source := Source(), said=ears)
        assert (len(report.said), source.read, ears.heard) == (4, [], ["silent"])
        assert said(library, "marmalade")[0][0] == "a.mp4"


def test_speech_is_heard_once_where_there_are_no_subtitles(heard: Library, films: Path) -> None:
    (films / "talk.mp4").write_text("7")
    ears, told = Ears(talk="We ran out of pistachios."), list[tuple[str, int, int]]()
    report = take_in(heard, [films], Source(), said=ears, progress=lambda *all: told.append(all))
    assert sorted(ears.heard) == ["silent", "talk"]
    assert [(Path(path).name, why) for path, why in report.warnings.items() if path.endswith("silent.mp4")] == [
        ("silent.mp4", "it has no sound, so nothing is said in it")
    ]
    assert {Path(path).name: lines for path, lines in report.said.items()} == {"talk.mp4": 1}
    assert [one for one in told if one[0] == "speech"][-1] == ("speech", 40, 40)
    (hit,) = heard.search("pistachios", within=["said"])
    assert told_of(hit) == ("talk.mp4", 5.0, 7.0, "speech", "en")
    assert unchanged(heard.folder, [films]) is not None
    again = take_in(heard, [films], Source(), said=ears)
    assert (len(ears.heard), again.said, again.warnings) == (2, {}, {})
    ears.heard, ears.said["silent"] = [], "Not so silent."
    take_in(heard, [films], Source(), said=ears, retry=True)
    assert ears.heard == ["silent"]
    take_in(heard, [films], Source(), said=ears, retry=True)
    assert (ears.heard, len(said(heard, "silent"))) == (["silent"], 1)
    better = Ears("better-any", talk="We ran out of pistachio nuts.")
    take_in(heard, [films], Source(), said=better)
    assert sorted(better.heard) == ["silent", "talk"]
    assert said(heard, '"of pistachios"') == []
    assert len(said(heard, "pistachio")) == 1
    everywhere = Ears("better-any", everywhere=True, a="Good mourning.")
    take_in(heard, [films], Source(), said=everywhere)
    assert sorted(everywhere.heard) == ["a", "b", "c"]
    assert [hit[0] for hit in said(heard, "mourning")] == [hit[0] for hit in said(heard, "marmalade")] == ["a.mp4"]
    assert verify(heard.store) == []


def told_of(hit: Hit) -> tuple[str, float, float, str, str]:
    (quote,) = hit.quotes
    return Path(hit.film.path).name, hit.start, hit.end, quote.track, quote.language


class Eyes(Written):
    """Reads likewise."""

    def __init__(self, identity: str = "ocr-1", **seen: str) -> None:
        self.identity, self.seen, self.looked = identity, seen, list[str]()

    def of(
        self, film: str, length: float, on_seconds: Callable[[float], None] = lambda seconds: None
    ) -> tuple[list[Track], list[str]]:
        name = Path(film).stem
        self.looked.append(name)
        lines = [Line(11.0, 14.0, self.seen[name])] if name in self.seen else []
        return ([Track(kind="text", name="screen", lines=lines)] if lines else []), []


def test_what_is_written_is_a_source_of_its_own(heard: Library, films: Path) -> None:
    eyes = Eyes(a="NO MARMALADE TODAY", silent="Platform of walnuts")
    report = take_in(heard, [films], pictures := Source(), written=eyes)
    assert (pictures.read, sorted(eyes.looked)) == ([], ["a", "b", "c", "silent"])
    assert {Path(path).name: lines for path, lines in report.said.items()} == {"a.mp4": 1, "silent.mp4": 1}
    assert unchanged(heard.folder, [films]) is not None
    take_in(heard, [films], Source(), written=eyes)
    assert len(eyes.looked) == 4
    for within, found in {
        ("said",): [("a.mp4", 10.0, "said")],
        ("written",): [("a.mp4", 11.0, "written")],
        ("name",): [],
    }.items():
        hits = heard.search("marmalade", within=within)
        assert [(Path(hit.film.path).name, hit.start, *hit.sources) for hit in hits] == found
        assert [hit.to_dict() for hit in search_words(heard.folder, "marmalade", within={*within})] == [
            hit.to_dict() for hit in hits
        ]
    for source in ("said", "written"):
        hits = heard.search("marmalade", within=["picture", source])
        assert {quote.source for hit in hits for quote in hit.quotes} == {source}
    both = heard.search("marmalade", within=["said", "written"], moments=3)
    assert {(hit.start, *hit.sources) for hit in both} == {(10.0, "said"), (11.0, "written")}
    hit = heard.search('"platform of walnuts"', 4)[0]
    assert (hit.sources, hit.to_dict()["why"][0]["source"]) == (frozenset({"written"}), "written")
    assert said(heard, "platform") == []
    (films / "a.en.srt").write_text(srt(["We need more paprika."]))
    take_in(heard, [films], Source(), said=(ears := Ears(silent="A word about walnuts.")))
    assert ears.heard == ["silent"]
    assert [len(heard.search(word, within="written")) for word in ("marmalade", "walnuts")] == [1, 1]
    assert [len(heard.search(word, within="said")) for word in ("marmalade", "walnuts", "paprika")] == [0, 1, 1]
    take_in(heard, [films], Source(), written=eyes, said=ears)
    assert (len(eyes.looked), len(ears.heard)) == (4, 1)
    assert verify(heard.store) == []


def test_speech_goes_on_where_a_run_was_killed(tmp_path: Path, films: Path) -> None:
    def die(film: str, *_: object) -> tuple[list[Track], list[str]]:
        if len(ears.heard) == 1:
            raise KeyboardInterrupt
        return Ears.of(ears, film, 20.0)

    ears = Ears(silent="First of all, llamas.", talk="Then, pistachios.")
    (films / "talk.mp4").write_text("7")
    with Library.create(tmp_path / "library", Plain()) as library:
        ears.of = die  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            take_in(library, [films], Source(), said=ears)
        assert len(library) == 5  # their pictures and subtitles are there, and what was heard
        assert [len(said(library, word)) for word in ("marmalade", "llamas", "pistachios")] == [1, 1, 0]
        goes_on = Ears(talk="Then, pistachios.")
        assert take_in(library, [films], source := Source(), said=goes_on).failed == {}
        assert (goes_on.heard, source.read) == (["talk"], [])
        assert [len(said(library, word)) for word in ("llamas", "pistachios")] == [1, 1]


def test_speech_stays_when_subtitles_come_and_go_and_leaves_with_its_film(heard: Library, films: Path) -> None:
    take_in(heard, [films], Source(), said=(ears := Ears(silent="A word about walnuts.")))
    for lines in (["Subtitles about hazelnuts."], []):
        (films / "silent.srt").write_text(srt(lines)) if lines else (films / "silent.srt").unlink()
        take_in(heard, [films], Source())
        assert len(said(heard, "walnuts")) == 1
        assert len(said(heard, "hazelnuts")) == len(lines)
    take_in(heard, [films], Source(), said=ears)
    assert ears.heard == ["silent"]
    os.utime(films / "silent.mp4", (1, 1))  # the same content
    take_in(heard, [films], Source(), said=ears)
    assert ears.heard == ["silent"]
    (films / "silent.mp4").write_text("11")
    take_in(heard, [films], Source())
    assert said(heard, "walnuts") == []
    take_in(heard, [films], Source(), said=ears)
    assert ears.heard == ["silent", "silent"]
    heard.remove(films / "silent.mp4")
    compacted(heard)
    assert said(heard, "walnuts") == []
    assert verify(heard.store) == []


def test_what_cannot_be_taken_costs_a_sentence_and_nothing_else(heard: Library, films: Path) -> None:
    (films / "a.de.srt").write_text("nothing of this is a subtitle")
    (films / "a.fr.srt").write_text(srt(["Bonjour"] * 30, first=30.0))
    report = take_in(heard, [films], Source())
    (warning,) = report.warnings.values()
    assert "a.de.srt: holds no subtitles that can be read (it is in no known form)" in warning
    assert "a.fr.srt: 30 of its 30 lines come after the film's end, so it belongs to another cut" in warning
    assert said(heard, "marmalade")[0][0] == "a.mp4"
    assert take_in(heard, [films], Source()).warnings == {}


def test_damage_is_found(heard: Library) -> None:
    with closing(sqlite3.connect(heard.folder / DATABASE)) as connection:
        connection.execute("UPDATE passages SET text = replace(text, 'marmalade', 'margarine')")
        connection.commit()
    (problem,) = verify(heard.store)
    assert "a.mp4: what is kept of what is said in it is damaged; index it again" in problem


def test_words_alone_are_found_without_a_model(
    heard: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text("terrible dream\nmarmalade\n")
    capsys.readouterr()
    assert main(["search", str(heard.folder), "--sentences", str(asked), "--in", "said"]) == 0
    assert [json.loads(line)["query"] for line in capsys.readouterr().out.splitlines()] == [
        "terrible dream",
        "marmalade",
    ]


def test_words_alone_are_found_without_torch(heard: Library) -> None:
    folder = heard.folder
    hits = search_words(folder, "marmalade", 3)
    assert [hit.to_dict() for hit in hits] == [
        hit.to_dict() for hit in heard.search("marmalade", 3, within=["said", "name"])
    ]
    script = (
        "import sys; from gmmformer.__main__ import run; sys.argv = ['gmmformer', *sys.argv[1:]]\n"
        "try: run()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    for asked in (['"terrible dream"'], ["terrible dream", "--in", "said"], ["silent", "--in", "name", "said"]):
        done = subprocess.run(
            [sys.executable, "-c", script, "search", str(folder), *asked, "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.stderr.strip() == "False", done.stderr
        assert len(json.loads(done.stdout)["hits"]) == 1


def test_terms_are_the_same_however_a_text_is_written() -> None:
    def terms(text: str) -> list[str]:
        return [term.term for term in terms_in(text)]

    assert terms("nai\u0308ve CAFÉ") == terms("naïve cafe\u0301")
    assert terms("ｶﾞ") == terms("ガ") != terms("カ")
    assert terms("مُحَمَّد ـــ") == terms("محمد")
    text = "Die Straße, 東京!"
    assert [text[term.start : term.end] for term in terms_in(text)] == ["Die", "Straße", "東", "京"]


def test_searches_see_one_state_while_lines_are_written(heard: Library, films: Path) -> None:
    with heard.store.reading() as connection:
        assert has_lines(connection)
    (films / "a.en.srt").write_text(srt(["Nothing but lemons."]))
    other = Library.open(heard.folder, Plain())
    with other.writing() as into, into.transaction():
        assert said(heard, "marmalade")[0][0] == "a.mp4"
    other.close()


def test_copies_are_one_hit_whichever_of_them_says_it(tmp_path: Path, films: Path) -> None:
    shutil.copy(films / "a.mp4", films / "a2.mp4")
    with Library.create(tmp_path / "library", Plain()) as library:
        take_in(library, [films], Source())
        hits = library.search("I had a terrible dream about a submarine", 4)
        assert Path(hits[0].film.path).name == "a.mp4"
        assert [Path(copy.path).name for copy in hits[0].copies] == ["a2.mp4"]
        assert np.unique([hit.film.id for hit in hits]).size == len(hits)


@pytest.mark.parametrize(
    ("score", "surprise", "strength", "kind", "place"),
    [
        (0.9, 4.0, 0.99, "subtitles", 0),
        (1.0, -1.0, 0.99, "subtitles", 1),
        (1.0, -1.0, 0.2, "subtitles", 0),
        (0.9, -1.0, 0.99, "subtitles", 3),
        (0.3, 4.0, 0.2, "subtitles", None),
        (0.55, 4.0, 0.2, "speech", 0),  # misheard
        (0.55, 4.0, 0.2, "text", 0),
        (0.55, 4.0, 0.2, "subtitles", None),  # of which nothing is misheard
        (0.55, 4.0, 0.99, "speech", None),  # and a film looks so
        (0.55, 4.0, None, "speech", None),  # and nobody knows whether one does
        (0.55, -1.0, 0.2, "speech", None),  # words that many say
        (0.45, 4.0, 0.2, "speech", None),
    ],
)
def test_what_is_surely_said_comes_first_and_the_rest_by_places(
    library: Library, score: float, surprise: float, strength: float | None, kind: str, place: int | None
) -> None:
    snapshot, query = library.store.snapshot(), unit_queries(1)[0]
    (found,) = library.engine.search(snapshot, query[None], 6)
    film = next(index for index in range(len(snapshot.films)) if index not in found.films)
    quote = Quote(
        film=int(snapshot.films[film]),
        start=0.0,
        end=1.0,
        score=score,
        surprise=surprise,
        whole=False,
        text="x",
        marks=(),
        language="",
        track="x.srt",
        kind=kind,
    )
    both, led = fused(snapshot, query, found, Asked(quotes={film: [quote]}), 6, lambda score: strength)
    order = both.films.tolist()
    assert (order.index(film) if film in order else None) == place
    assert [index for index in order if index != film] == found.films.tolist()[: len(order) - (place is not None)]
    assert (film in led and film in order) == (place is not None)


def test_what_is_odd_about_many_films_is_told_once() -> None:
    mute = "it has no sound, so nothing is said in it"
    few = IndexReport(warnings={f"{name}.mp4": mute for name in "abc"})
    assert few.table().splitlines()[2:] == [f"  {name}.mp4: {mute}" for name in "abc"]
    many = IndexReport(warnings={f"{name}.mp4": mute for name in "abcd"} | {"e.mp4": "it is short"})
    assert many.table().splitlines()[2:] == [f"  4 films, such as a.mp4: {mute}", "  e.mp4: it is short"]
    assert many.as_dict()["warnings"]["d.mp4"] == mute
