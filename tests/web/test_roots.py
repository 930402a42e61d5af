"""Which folders films may be taken from: nothing outside, wherever a path or a link leads."""

from pathlib import Path

import pytest

from gmmformer.errors import InputError
from gmmformer.web import ServeConfig
from gmmformer.web.problems import ProblemError
from gmmformer.web.roots import NONE, Roots


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A root "films" with a folder, films, hidden ones and links in and out of it; beside it "private"."""
    films, private = tmp_path / "films", tmp_path / "private"
    (films / "evening").mkdir(parents=True)
    (films / ".hidden").mkdir()
    private.mkdir()
    for path in (films / "b.mp4", films / "A.MKV", films / "evening" / "c.mp4", films / ".d.mp4", private / "e.mp4"):
        path.write_bytes(b"film")
    (films / "notes.txt").write_text("no film")
    (films / "inside").symlink_to(films / "evening")
    (films / "out").symlink_to(private)
    (films / "out.mp4").symlink_to(private / "e.mp4")
    (films / "dangling.mp4").symlink_to(films / "nothing.mp4")
    (films / "bytes \udcff").mkdir()
    (films / "films-too").mkdir()
    (tmp_path / "films-beside").mkdir()
    (tmp_path / "films-beside" / "f.mp4").write_bytes(b"film")
    return tmp_path


def refused(roots: Roots, path: object) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        roots.to_take_in(str(path))
    with pytest.raises(ProblemError) as listing:
        roots.listed(str(path), ())
    if caught.value.status == 403:
        assert (listing.value.status, listing.value.detail) == (403, caught.value.detail)
    return caught.value


def test_what_lies_outside_is_refused_by_name_whether_it_is_there_or_not(place: Path) -> None:
    roots = Roots([place / "films"])
    for path in (
        place,
        "/",
        "/etc/passwd",
        place / "private",
        place / "private" / "e.mp4",
        place / "private" / "nothing.mp4",
        place / "films-beside",
        place / "films-beside" / "f.mp4",
        f"{place}/films/../private/e.mp4",
        f"{place}/films/evening/../../private",
    ):
        problem = refused(roots, path)
        assert problem.status == 403
        assert problem.detail == f"{path}: does not lie in a folder that this server may read."


def test_links_that_lead_out_are_refused_and_those_that_stay_are_not(place: Path) -> None:
    films = place / "films"
    roots = Roots([films])
    for path in (films / "out", films / "out.mp4", films / "out" / "e.mp4", films / "out" / "nothing"):
        problem = refused(roots, path)
        assert problem.status == 403
        assert problem.detail == f"{path}: a link leads out of the folders that this server may read."
    assert roots.to_take_in(str(films / "inside")) == str(films / "inside")
    assert roots.to_take_in(f"{films}/evening/../b.mp4") == str(films / "b.mp4")
    assert Roots([films, place / "private"]).to_take_in(str(films / "out.mp4")) == str(films / "out.mp4")


def test_a_root_that_is_a_link_itself_is_one(place: Path) -> None:
    (place / "link").symlink_to(place / "films")
    roots = Roots([place / "link"])
    assert roots.to_take_in(str(place / "link" / "b.mp4")) == str(place / "link" / "b.mp4")
    assert refused(roots, place / "films" / "b.mp4").status == 403


@pytest.mark.parametrize("path", ["films", "../films", "", "/a\nb", "/a\0b"])
def test_what_is_no_path_is_refused(place: Path, path: str) -> None:
    assert refused(Roots([place / "films"]), path).status == 422


def test_what_is_no_film_or_not_there_is_refused(place: Path) -> None:
    films = place / "films"
    roots = Roots([films])
    assert refused(roots, films / "notes.txt").detail == f"{films}/notes.txt: its ending is not that of a film."
    assert refused(roots, films / "nothing").detail == f"{films}/nothing: there is no such folder or film."
    for path, status in ((films / "nothing", 404), (films / "b.mp4", 422)):
        with pytest.raises(ProblemError) as caught:
            roots.listed(str(path), ())
        assert caught.value.status == status


def test_a_folder_is_listed_without_what_is_hidden_or_leads_out(place: Path) -> None:
    films = place / "films"
    roots = Roots([films])
    told = roots.listed(str(films), {str(films / "b.mp4")})
    assert (told.path, told.parent) == (str(films), None)
    assert [entry.name for entry in told.folders] == ["evening", "films-too", "inside"]
    assert [(entry.name, entry.known) for entry in told.films] == [("A.MKV", False), ("b.mp4", True)]
    assert roots.listed(str(films / "evening"), ()).parent == str(films)
    every = roots.listed(None, ())
    assert (every.path, [entry.path for entry in every.folders]) == (None, [str(films)])


def test_films_of_a_folder_are_taken_without_links_that_lead_out(place: Path) -> None:
    films = place / "films"
    inside, outside = Roots([films]).films([str(films)])
    assert [Path(path).name for path in inside] == ["A.MKV", "b.mp4", "c.mp4"]
    assert outside == [str(films / "out.mp4")]


def test_without_roots_nothing_is_let_in(place: Path) -> None:
    problem = refused(Roots([]), place / "films")
    assert (problem.status, problem.detail) == (403, NONE)


def test_a_root_that_is_no_folder_is_refused_at_the_start(place: Path) -> None:
    for root in (place / "nothing", place / "films" / "b.mp4"):
        with pytest.raises(InputError, match=r"--roots .*: there is no such folder"):
            ServeConfig(roots=(root,))
