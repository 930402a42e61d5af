"""Several sentences at once, over HTTP."""

import httpx
import pytest

from gmmformer.search import Library, search_composed

DOG, BOAT, RAIN = "a red circle", "a blue square", "a green star"


def test_what_the_library_finds_is_told_with_its_parts(client: httpx.Client, library: Library) -> None:
    asked = {"q": DOG, "then": [BOAT], "also": [RAIN], "without": ["snow"], "k": 3, "min_length": 1}
    answer = client.post("/api/compose", json=asked)
    assert answer.status_code == 200
    hits = search_composed(library, [DOG, BOAT], 3, also=[RAIN], without=["snow"], min_length=1)
    for told, hit in zip(answer.json()["hits"], (hit.to_dict() for hit in hits), strict=True):
        assert {name: told[name] for name in ("id", "film", "start", "end", "parts")} == {
            name: hit[name] for name in ("id", "film", "start", "end", "parts")
        }
        assert [part["sentence"] for part in told["parts"]] == [DOG, BOAT, RAIN]
        assert (told["available"], told["word"], told["strip"]) == (True, None, None)
    assert answer.json()["films"] == len(library)
    assert client.post("/api/compose", json=asked | {"strips": True}).json()["hits"][0]["strip"]["scores"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "q: Field required"),
        ({"q": DOG, "then": [" "]}, "empty"),
        ({"q": DOG, "then": [BOAT] * 16}, "then: "),
        ({"q": DOG, "then": [BOAT] * 8, "also": [RAIN] * 8}, "17 sentences to be seen together: give 1 to 16"),
        ({"q": DOG, "without": ['"the very words"']}, "words in quotes are looked for in what is said"),
        ({"q": DOG, "k": 101}, "k: "),
    ],
)
def test_what_makes_no_sense_is_refused(client: httpx.Client, asked: dict[str, object], told: str) -> None:
    answer = client.post("/api/compose", json=asked)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
