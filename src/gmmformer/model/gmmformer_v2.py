"""GMMFormer v2: more windows, mixed by learned weights, and every frame kept (arXiv 2405.13824)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gmmformer.config import ModelConfig, TrainConfig
from gmmformer.model.attention import (
    AttentionWeights,
    Dropout,
    Layout,
    attention,
    by_length,
    gaussian_windows,
    layout,
    pad,
)
from gmmformer.model.batches import QueryBatch, VideoBatch
from gmmformer.model.layers import LENGTH_GROUPS, AttentionPooling, InputStage
from gmmformer.model.losses import LossesV2, objective_v2
from gmmformer.model.network import Network
from gmmformer.model.scoring import ClipsAndFrames, VectorGroup

WIDTHS: tuple[float | None, ...] = (None, 0.5, 1.0, 5.0, 10.0, 3.0, 0.1, 8.0)
"""Widths of the windows of a mixture, in the order in which checkpoints have them."""


class LayerWeights(AttentionWeights):
    """The weights of one transformer layer."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__(hidden)
        self.layer1 = nn.Linear(hidden, inner)
        self.layer2 = nn.Linear(inner, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.norm2 = nn.LayerNorm(hidden)

    def finish(self, x: Float[Tensor, "*n h"], attended: Float[Tensor, "*n h"], dropout: Dropout) -> Tensor:
        """What comes after attention: a norm, two linear layers, another norm."""
        y = self.norm1(x + dropout(attended))
        z: Tensor = self.norm2(y + dropout(self.layer2(dropout(F.relu(self.layer1(y))))))
        return z


class TransformerLayers(nn.Module):
    """Transformer layers side by side on the same rows, each under its own window."""

    def __init__(self, hidden: int, heads: int, drop: float, widths: tuple[float | None, ...]) -> None:
        super().__init__()
        self.heads, self.widths = heads, widths
        self.layers = nn.ModuleList(LayerWeights(hidden, 4 * hidden) for _ in widths)
        self.dropout = Dropout(drop)

    def forward(
        self, rows: Float[Tensor, "rows hidden"], place: Layout, positions: int
    ) -> Float[Tensor, "windows rows hidden"]:
        """Let the rows of each sequence attend to one another, under windows that are laid over `positions`."""
        layers = [layer for layer in self.layers if isinstance(layer, LayerWeights)]
        gaussians = gaussian_windows(self.widths, positions, rows.device)
        attended = attention(rows, layers, place, gaussians, self.heads, self.dropout)
        return torch.stack([layer.finish(rows, own, self.dropout) for layer, own in zip(layers, attended, strict=True)])


class Mixture(nn.Module):
    """Layers under eight windows, mixed at each position by weights that a learned token finds (paper: GMM block)."""

    def __init__(self, hidden: int, heads: int, positions: int, drop: float, temperature: float) -> None:
        super().__init__()
        self.heads, self.positions, self.temperature = heads, positions, temperature
        self.windows = TransformerLayers(hidden, heads, drop, WIDTHS)
        self.ca = LayerWeights(hidden, hidden)
        self.layer1 = nn.Linear(hidden, hidden)
        self.layer2 = nn.Linear(hidden, positions)
        self.dropout = Dropout(drop)

    def forward(
        self, rows: Float[Tensor, "rows hidden"], place: Layout, token: Float[Tensor, "1 1 hidden"]
    ) -> Float[Tensor, "rows hidden"]:
        """Mix what the windows make of the rows of each sequence.

        Nothing depends on how far a sequence is padded: of fewer rows than positions the first of the windows and of
        the weights are taken.
        """
        seen = self.windows(rows, place, self.positions)  # windows, rows, hidden
        mixed: Tensor = (self.weights(self.summaries(seen, place, token), place)[..., None] * seen).sum(0)
        return mixed

    def weights(
        self, summaries: Float[Tensor, "windows sequences hidden"], place: Layout
    ) -> Float[Tensor, "windows rows"]:
        """How much of each window there is in each row: a softmax over the windows."""
        logits = self.layer2(self.dropout(F.relu(self.layer1(summaries))))  # windows, sequences, positions
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature
        cells = place.whole.cells // place.whole.longest * self.positions + place.position
        weights: Tensor = logits.softmax(0).flatten(1).index_select(1, cells).to(summaries.dtype)
        return weights

    def summaries(
        self, seen: Float[Tensor, "windows rows hidden"], place: Layout, token: Float[Tensor, "1 1 hidden"]
    ) -> Float[Tensor, "windows sequences hidden"]:
        """What the token finds in each window's rows of each sequence: one layer with the token for its only query.

        As there is one query, keys and values are not made of every row: a head's logits are the rows' products with
        what its key weights make of the query, and its values those of the rows' weighted sums.
        """
        ca, (windows, _, hidden) = self.ca, seen.shape
        width = hidden // self.heads
        query = (ca.query(token).view(self.heads, 1, width) / width**0.5).to(seen.dtype)
        asked = (query @ ca.key.weight.view(self.heads, width, hidden).to(seen.dtype)).squeeze(1)  # heads, hidden
        constant = (query * ca.key.bias.view(self.heads, 1, width).to(seen.dtype)).sum(-1).T  # 1, heads
        sums, shares = [], []
        for part, group in zip(torch.split(seen, [group.rows for group in place.groups], 1), place.groups, strict=True):
            laid_out = pad(part, group)  # windows, sequences, longest, hidden
            logits = (laid_out @ asked.T + constant).transpose(-1, -2)  # windows, sequences, heads, longest
            if group.padding is not None:
                logits = logits.masked_fill(group.padding, float("-inf"))
            share = self.dropout(logits.softmax(-1)).to(seen.dtype)
            sums.append(share @ laid_out)
            shares.append(share.sum(-1))
        pooled, kept = (
            torch.cat(sums, 1),
            torch.cat(shares, 1),
        )  # windows, sequences, heads, hidden; the same but hidden
        values = torch.einsum("wshd,hvd->wshv", pooled, ca.value.weight.view(self.heads, width, hidden).to(seen.dtype))
        values = values + kept[..., None] * ca.value.bias.view(self.heads, width).to(seen.dtype)
        found: Tensor = ca.finish(token.expand(windows, values.shape[1], hidden), values.flatten(2), self.dropout)
        return found


class GMMFormerV2(Network):
    """The network: one vector per sentence; 32 clip vectors and those of all frames, at most 128, per video.

    A score is 0.7 of the best clip's cosine and 0.3 of the best frame's, which is at least 0 for a video with fewer
    than `max_ctx_l` frames: the published network pads with noughts, and scores these too.

    >>> import numpy as np
    >>> from gmmformer.model import similarity
    >>> config = ModelConfig(network="v2", feature_dim=6, query_dim=5, hidden=8, heads=2, map_size=4, max_ctx_l=10)
    >>> model = GMMFormerV2(config).eval()
    >>> videos = model.encode_video([np.ones((3, 6)), np.ones((4, 6))])
    >>> similarity(model.encode_query([np.ones((5, 5))]), videos, model.groups).shape
    torch.Size([1, 2])
    """

    kind = "v2"
    title, paper = "GMMFormer v2", "https://arxiv.org/abs/2405.13824"
    losses, encodings = LossesV2._fields, 2

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = c = config
        with torch.random.fork_rng(devices=[]):
            self.query_input = InputStage(c.query_dim, c.hidden, c.max_desc_l, c.input_drop)
            self.clip_input = InputStage(c.feature_dim, c.hidden, c.max_ctx_l, c.input_drop)
            self.frame_input = InputStage(c.feature_dim, c.hidden, c.max_ctx_l, c.input_drop)
            self.query_encoder = TransformerLayers(c.hidden, c.heads, c.drop, (None,))
            self.clip_encoder = Mixture(c.hidden, c.heads, c.map_size, c.drop, c.temperature)
            self.frame_encoder = Mixture(c.hidden, c.heads, c.max_ctx_l, c.drop, c.temperature)
            self.query_pool = AttentionPooling(c.hidden)
            self.token = nn.Parameter(torch.empty(1, 1, c.hidden))
        self._draw()

    @torch.no_grad()
    def _draw(self) -> None:
        """Draw the weights in the published order, so that a seed gives the published weights to the bit.

        Everything is first drawn as torch does by itself, as there, and then again.
        """
        stages = (self.query_input, self.clip_input, self.frame_input)
        branches = (self.query_encoder, self.clip_encoder, self.frame_encoder)
        order: list[nn.Linear | nn.Embedding] = [stage.positions for stage in stages]
        for stage, branch in zip(stages, branches, strict=True):
            order += [stage.linear, *(module for module in branch.modules() if isinstance(module, nn.Linear))]
        order.append(self.query_pool.score)
        for module in order:
            module.reset_parameters()
        nn.init.normal_(self.token)
        for module in order:
            nn.init.normal_(module.weight, 0.0, 0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    @property
    def groups(self) -> tuple[VectorGroup, ...]:
        """See `Network.groups`."""
        c = self.config
        return VectorGroup(c.map_size, c.clip_weight), VectorGroup(c.max_ctx_l, c.frame_weight)

    def decayed(self) -> set[str]:
        """See `Network.decayed`; as published: all but biases and the norms of the input stages."""
        return {
            name
            for name, _ in self.named_parameters()
            if not name.endswith((".bias", "input_norm.weight", ".norm.weight"))
        }

    def embed_query(self, batch: QueryBatch) -> Float[Tensor, "queries hidden"]:
        """One vector per sentence, not normalised."""
        rows = layout(batch.lengths, self.device)
        tokens = self.query_input(batch.tokens.to(self.device), rows.position)
        pooled: Tensor = self.query_pool(self.query_encoder(tokens, rows, rows.whole.longest)[0], rows)
        return pooled

    def embed_video(self, batch: VideoBatch) -> ClipsAndFrames:
        """The vectors of each video's clips and frames, not normalised; they depend on the video alone."""
        clips, frames, lengths = batch.to(self.device)
        return ClipsAndFrames(self._encode_clips(clips), self._encode_frames(frames, lengths.cpu()))

    def stored(self, videos: ClipsAndFrames) -> Float[Tensor, "videos vectors hidden"]:
        """Clips, then frames, each of unit length; noughts behind a video's end."""
        return F.normalize(torch.cat(videos, dim=1).float(), dim=-1)

    def objective(
        self,
        queries: Float[Tensor, "queries encodings hidden"],
        videos: ClipsAndFrames,
        labels: Int[Tensor, "queries"],
        config: TrainConfig,
        *,
        hard: bool,
        generator: torch.Generator,
    ) -> dict[str, Float[Tensor, ""]]:
        """See `gmmformer.model.losses.objective_v2`."""
        return objective_v2(queries, videos, labels, config, hard=hard, generator=generator)._asdict()

    def _encode_clips(self, clips: Float[Tensor, "videos clips dim"]) -> Float[Tensor, "videos clips hidden"]:
        place = layout(torch.full(clips.shape[:1], clips.shape[1]), self.device)
        rows = self.clip_input(clips.flatten(0, 1), place.position)
        encoded: Tensor = self.clip_encoder(rows, place, self.token)
        return encoded.view(*clips.shape[:2], self.config.hidden)

    def _encode_frames(
        self, frames: Float[Tensor, "rows dim"], lengths: Int[Tensor, "videos"]
    ) -> Float[Tensor, "videos positions hidden"]:
        videos, rows = by_length(lengths)
        place, positions = layout(lengths[videos], self.device, LENGTH_GROUPS), self.config.max_ctx_l
        hidden = self.frame_input(frames, layout(lengths, self.device).position)[rows.to(self.device)]
        encoded: Tensor = self.frame_encoder(hidden, place, self.token)
        cells = videos.to(self.device)[place.whole.cells // place.whole.longest] * positions + place.position
        laid_out = encoded.new_zeros(len(lengths) * positions, encoded.shape[-1]).index_copy(0, cells, encoded)
        return laid_out.view(len(lengths), positions, encoded.shape[-1])
