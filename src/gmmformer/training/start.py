"""Beginning where the features are, before anything is learned."""

from gmmformer.data import Collection
from gmmformer.evaluation import Linear, levelled
from gmmformer.model import Network


def begin_at_features(model: Network, collection: Collection, split: str, *, workers: int, progress: bool) -> None:
    """Let a network score as the space of the features does, or as ridge regression on a split, whichever finds more.

    Raises:
        InputError: The network cannot, or the features are not whole.
    """
    model.begin_at(Linear(collection, prepare=levelled, workers=workers, progress=progress).start(split))


def lead(videos: int) -> float:
    """How much SumR must rise over that of such a start: what chance alone moves it by, among so many videos.

    >>> lead(4), lead(400)
    (50.0, 5.0)
    """
    return float(100 / videos**0.5)
