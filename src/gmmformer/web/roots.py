"""The folders that films may be taken from: whether a path lies in them, whatever links say, and what is there."""

import os
from collections.abc import Collection, Sequence

from pydantic import Field

from gmmformer.files import folded, lies_in
from gmmformer.media.films import find_films, named_as_film, path_text
from gmmformer.web.problems import ProblemError
from gmmformer.web.schemas import Model

MOST_ENTRIES = 2_000
"""Folders, and films, of one folder that are listed."""
NONE = "The server was started without --roots, so films can neither be added nor taken out here."


class EntryOut(Model):
    """What lies in a folder."""

    path: str = Field(description="Its whole path.")
    name: str = Field(description="The last part of it; of a root all of it.")
    known: bool = Field(description="Whether it is a film of the library; false of a folder.")


class FolderOut(Model):
    """A folder that films may be taken from, or all of these."""

    path: str | None = Field(description="Its whole path; null: these are the roots.")
    parent: str | None = Field(description="The folder above; null of a root, and of the list of roots.")
    folders: list[EntryOut] = Field(description="Folders in it, sorted, at most the first 2,000.")
    films: list[EntryOut] = Field(description="Files in it that are films by their ending, likewise.")


class Roots:
    """Folders that the server may read. Nothing outside of them is looked at, wherever a link leads."""

    def __init__(self, folders: Sequence[str | os.PathLike[str]]) -> None:
        """These folders; none: nothing can be added."""
        self.folders = tuple(os.path.abspath(os.fspath(folder)) for folder in folders)  # noqa: PTH100 - as films are known
        self._real = tuple(map(os.path.realpath, self.folders))

    def __bool__(self) -> bool:
        return bool(self.folders)

    def need(self) -> None:
        """See to it that there are any.

        Raises:
            ProblemError: There are none (403).
        """
        if not self:
            raise ProblemError(403, NONE)

    def holds(self, path: str) -> bool:
        """Whether what a path leads to, all links resolved, lies in one of the folders."""
        real = os.path.realpath(path)
        return any(lies_in(real, root) for root in self._real)

    def checked(self, path: str) -> str:
        """A path that somebody asks for, without dots in it.

        Raises:
            ProblemError: It does not lie in one of the folders, or leads out of them (403), or is no path (422).
        """
        self.need()
        if not os.path.isabs(path) or not path.isprintable():  # noqa: PTH117
            raise ProblemError(422, "path: must be a whole path in plain text, such as /srv/films/evening.")
        whole = os.path.abspath(path)  # noqa: PTH100
        if not any(lies_in(whole, root) for root in self.folders):
            raise ProblemError(403, f"{path}: does not lie in a folder that this server may read.")
        if not self.holds(whole):
            raise ProblemError(403, f"{path}: a link leads out of the folders that this server may read.")
        return whole

    def to_take_in(self, path: str) -> str:
        """A folder, or a film by its ending, that somebody wants to have in the library.

        Raises:
            ProblemError: As for `checked`, or it is neither (422), or not there (404).
        """
        whole = self.checked(path)
        if os.path.isdir(whole):  # noqa: PTH112
            return whole
        if not os.path.isfile(whole):  # noqa: PTH113
            raise ProblemError(404, f"{path}: there is no such folder or film.")
        if not named_as_film(whole):
            raise ProblemError(422, f"{path}: its ending is not that of a film.")
        return whole

    def films(self, paths: Sequence[str]) -> tuple[list[str], list[str]]:
        """The films at and below some paths that were checked; and those left out, since a link leads out of the roots.

        Raises:
            InputError: A path is gone, or a folder cannot be read.
        """
        found: tuple[list[str], list[str]] = [], []
        for film in map(str, find_films(paths)):
            found[os.path.islink(film) and not self.holds(film)].append(film)  # noqa: PTH114
        return found

    def listed(self, path: str | None, known: Collection[str]) -> FolderOut:
        """What lies in a folder, or the folders themselves; hidden names, and links that lead out, are passed over.

        So are names that are no UTF-8, which JSON cannot hold: their folder as a whole takes them in.

        Args:
            path: The folder; None: the roots.
            known: Paths of films that the library has.

        Raises:
            ProblemError: It lies elsewhere, or cannot be read (403), is no folder (422), or not there (404).
        """
        self.need()
        if path is None:
            roots = [EntryOut(path=path_text(root), name=path_text(root), known=False) for root in self.folders]
            return FolderOut(path=None, parent=None, folders=roots, films=[])
        whole = self.checked(path)
        folders, films = [], []
        try:
            with os.scandir(whole) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or (entry.is_symlink() and not self.holds(entry.path)):
                        continue
                    if entry.is_dir():
                        folders.append(entry)
                    elif named_as_film(entry.name) and entry.is_file():
                        films.append(entry)
        except FileNotFoundError:
            raise ProblemError(404, f"{path}: there is no such folder.") from None
        except NotADirectoryError:
            raise ProblemError(422, f"{path}: is no folder.") from None
        except OSError as error:
            raise ProblemError(403, f"{path}: cannot be read ({error.strerror}).") from None
        return FolderOut(
            path=whole,
            parent=None if whole in self.folders else os.path.dirname(whole),  # noqa: PTH120
            folders=_told(folders, ()),
            films=_told(films, known),
        )


def _told(entries: Sequence["os.DirEntry[str]"], known: Collection[str]) -> list[EntryOut]:
    plain = [entry for entry in entries if entry.name.isprintable()]
    some = sorted(plain, key=lambda entry: (folded(entry.name), entry.name))[:MOST_ENTRIES]
    return [EntryOut(path=entry.path, name=entry.name, known=entry.path in known) for entry in some]
