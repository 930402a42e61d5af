"""GMMFormer: sentences and untrimmed videos into one space (Wang et al., AAAI 2024, arXiv 2310.05195)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gmmformer.config import ModelConfig, TrainConfig
from gmmformer.model.attention import by_length, gaussian_windows, layout
from gmmformer.model.batches import QueryBatch, VideoBatch
from gmmformer.model.layers import (
    LENGTH_GROUPS,
    WINDOW_WIDTHS,
    AttentionPooling,
    InputStage,
    MixtureBlock,
    WindowWeights,
)
from gmmformer.model.losses import Losses, objective
from gmmformer.model.network import Network
from gmmformer.model.scoring import Start, VectorGroup, VideoEmbeddings, fuse

PASSING = 6.0
"""A bias that numbers of the order of 1 pass a ReLU with."""


class GMMFormer(Network):
    """The network: one vector per sentence; 32 clip vectors and one video vector per video, stored as 32 fused ones.

    >>> import numpy as np
    >>> from gmmformer.model import similarity
    >>> model = GMMFormer(ModelConfig(feature_dim=6, query_dim=5, hidden=8, heads=2, map_size=4, max_ctx_l=10)).eval()
    >>> videos = model.encode_video([np.ones((3, 6)), np.ones((4, 6))])
    >>> similarity(model.encode_query([np.ones((5, 5))]), videos).shape
    torch.Size([1, 2])
    """

    kind = "v1"
    title, paper = "GMMFormer, AAAI 2024", "https://arxiv.org/abs/2310.05195"
    losses = Losses._fields

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        self.query_input = InputStage(c.query_dim, c.hidden, c.max_desc_l, c.input_drop)
        self.clip_input = InputStage(c.feature_dim, c.hidden, c.max_ctx_l, c.input_drop)
        self.frame_input = InputStage(c.feature_dim, c.hidden, c.max_ctx_l, c.input_drop)
        self.query_encoder = MixtureBlock(c.hidden, c.heads, c.drop, windows=1)
        self.clip_encoder = nn.ModuleList(MixtureBlock(c.hidden, c.heads, c.drop) for _ in range(2))
        self.frame_encoder = nn.ModuleList(MixtureBlock(c.hidden, c.heads, c.drop) for _ in range(2))
        self.query_pool = AttentionPooling(c.hidden)
        self.frame_pool = AttentionPooling(c.hidden)
        self.apply(_initialise)

    @property
    def groups(self) -> tuple[VectorGroup, ...]:
        """See `Network.groups`."""
        return (VectorGroup(self.config.map_size, 1.0),)

    def embed_query(self, batch: QueryBatch) -> Float[Tensor, "queries hidden"]:
        """One vector per sentence, not normalised (paper: text query representation)."""
        rows = layout(batch.lengths, self.device)
        no_window = gaussian_windows([None], rows.whole.longest, self.device)
        tokens = self.query_input(batch.tokens.to(self.device), rows.position)
        pooled: Tensor = self.query_pool(self.query_encoder(tokens, rows, no_window), rows)
        return pooled

    def embed_video(self, batch: VideoBatch) -> VideoEmbeddings:
        """The clip vectors and the video vector of each video, not normalised (paper: Gaussian-mixture-model block).

        With `config.window` "full" an embedding depends on its video alone; with "batch" on the batch's longest.
        """
        clips, frames, lengths = batch.to(self.device)
        return VideoEmbeddings(self._encode_clips(clips), self._encode_frames(frames, lengths.cpu()))

    def stored(self, videos: VideoEmbeddings) -> Float[Tensor, "videos clips hidden"]:
        """The fused clips: their inner product with a unit query is the score of each clip."""
        return fuse(videos, self.config.clip_weight, self.config.frame_weight)

    def objective(
        self,
        queries: Float[Tensor, "queries encodings hidden"],
        videos: VideoEmbeddings,
        labels: Int[Tensor, "queries"],
        config: TrainConfig,
        *,
        hard: bool,
        generator: torch.Generator,
    ) -> dict[str, Float[Tensor, ""]]:
        """See `gmmformer.model.losses.objective`."""
        return objective(queries, videos, labels, config, hard=hard, generator=generator)._asdict()

    @torch.no_grad()
    def begin_at(self, start: Start) -> None:
        """Let clips be mapped means of rows, the video the mean of its mapped frames, a query the mean of its tokens.

        The ReLU of an input stage passes what lies around a large bias, which the LayerNorm after it takes away again;
        attention and pooling add nothing, and learn from there. LayerNorm takes the direction of equal numbers with
        it, which is left free; so `hidden` - 1 directions of the sentences are kept.
        """
        kept = min(self.config.hidden - 1, self.config.query_dim)
        onto = _beside_ones(self.config.hidden, kept).to(self.device) @ start.basis[:, :kept].T.to(self.device)
        _pass_through(self.query_input, onto, start.sentence, start.sentence_spread)
        for stage in (self.clip_input, self.frame_input):
            _pass_through(stage, onto @ start.weight.T.to(self.device), start.frame, start.frame_spread)
        for module in self.modules():
            if isinstance(module, WindowWeights):
                module.output.weight.zero_()
            if isinstance(module, AttentionPooling):
                module.score.weight.zero_()

    def _encode_clips(self, clips: Float[Tensor, "videos clips dim"]) -> Float[Tensor, "videos clips hidden"]:
        videos, count = clips.shape[:2]
        place = layout(torch.full((videos,), count), self.device)
        windows = gaussian_windows(WINDOW_WIDTHS, count, self.device)
        hidden: Tensor = self.clip_input(clips.flatten(0, 1), place.position)
        for block in self.clip_encoder:
            hidden = block(hidden, place, windows)
        return hidden.view(videos, count, self.config.hidden)

    def _encode_frames(
        self, frames: Float[Tensor, "rows dim"], lengths: Int[Tensor, "videos"]
    ) -> Float[Tensor, "videos hidden"]:
        videos, rows = by_length(lengths)
        place = layout(lengths[videos], self.device, LENGTH_GROUPS)
        positions = self.config.max_ctx_l if self.config.window == "full" else place.whole.longest
        windows = gaussian_windows(WINDOW_WIDTHS, positions, self.device)
        hidden: Tensor = self.frame_input(frames, layout(lengths, self.device).position)
        hidden = hidden[rows.to(self.device)]
        for block in self.frame_encoder:
            hidden = block(hidden, place, windows)
        pooled: Tensor = self.frame_pool(hidden, place)
        return pooled[videos.argsort().to(self.device)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _beside_ones(hidden: int, count: int) -> Float[Tensor, "hidden count"]:
    """As many directions at right angles to one another and to that of equal numbers; always the same."""
    drawn = torch.randn(hidden, count + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn[:, 0] = 1
    directions: Tensor = torch.linalg.qr(drawn)[0][:, 1:]
    return directions.float()


def _pass_through(
    stage: InputStage, weight: Float[Tensor, "hidden dim"], mean: Float[Tensor, "dim"], spread: float
) -> None:
    """Let a stage map levelled rows, less their mean, linearly."""
    scale = weight.shape[0] ** 0.5 / max(spread, 1e-12)  # so that a row's numbers are of the order of 1
    stage.linear.weight.copy_(weight * scale / weight.shape[1] ** 0.5)  # as the stage's rows have length dim ** 0.5
    stage.linear.bias.copy_(PASSING - scale * weight @ mean.to(weight.device))
    stage.positions.weight.zero_()
