"""Collections in the MS-SL layout, as they are checked, evaluated on, trained on and indexed."""

from pathlib import Path

from fuzz_hunt import Hunt
from fuzz_material import NETWORK, Spoilt, spoilt
from fuzz_outcomes import Mother, Tree, attempt
from hypothesis import strategies as st

DATA = ("--data", "data", "--collection", "tiny")
COMMANDS = {
    "check-data": ("check-data", "data", "--collection", "tiny", "--json"),
    "evaluate": ("evaluate", "run", *DATA, "--json", "--device", "cpu"),
    "evaluate with one reader": ("evaluate", "run", *DATA, "--json", "--workers", "0", "--ranks", "ranks.jsonl"),
    "index": ("index", "library", *DATA, "--model", "run", "--json"),
    "train": ("train", *DATA, "--out", "new", *NETWORK, "--batch-size", "4", "--epochs", "1", "--workers", "0"),
}
MAKES = ("ranks.jsonl", "library", "new")


def test_collection_files(hunt: Hunt, mother: Mother, run: Tree) -> None:
    """Also HDF5 files, whose parts are put in each other's place."""

    def use(case: tuple[Spoilt, str], folder: Path):
        case[0].write(folder, run)
        arguments = COMMANDS[case[1]]
        changes = ("new",) if arguments[0] == "train" else ()  # a run that fails keeps what it has learnt
        return arguments, attempt(mother, folder, *arguments, makes=MAKES, changes=changes)[1]

    often = ("check-data", "evaluate", "evaluate with one reader", "index") * 4
    hunt(st.tuples(spoilt(run, "data/"), st.sampled_from((*often, "train"))), use, examples=8)
