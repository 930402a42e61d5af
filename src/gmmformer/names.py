"""When two names, written by people and by file systems, are the same one."""

import os
import unicodedata
from collections.abc import Iterable


def composed(name: str) -> str:
    """The name with its accents composed (NFC): however they were written, two such names are the same name."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What is left of a name when accents are composed, case, surplus spaces and invisible characters are gone.

    Two names that look alike are equal then; whether they mean the same is for the caller to say.

    >>> folded("Cafe\u0301\u200b  CR\u00c8ME ") == folded("caf\u00e9 cr\u00e8me")
    True
    """
    if not name.isascii():
        name = "".join(c for c in name if unicodedata.category(c) != "Cf")
        name = unicodedata.normalize("NFD", name)
    return composed(" ".join(name.casefold().split()))


def folded_path(path: str) -> str:
    """A path of which each part is folded, and what stands before the ending of the last one by itself."""
    stem, ending = os.path.splitext(path)  # noqa: PTH122 - may hold any bytes
    return "/".join(map(folded, stem.split("/"))) + folded(ending)


def lookalikes(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name that looks like a known one: how both are written; else empty.

    >>> lookalikes("Tea ", ["tea", "coffee"])
    "; it is written 'Tea ', what is there is written 'tea'"
    """
    wanted = folded(name)
    alike = [other for other in known if folded(other) == wanted]
    there = " and ".join(ascii(other) for other in alike[:3])
    return f"; it is written {name!a}, what is there is written {there}" if alike else ""
