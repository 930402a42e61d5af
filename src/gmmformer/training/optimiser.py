"""BERT's Adam and its schedule, as the published training used them."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from gmmformer.config import TrainConfig
from gmmformer.model import Network

_FAR = 1e6
"""Steps after which 1 - beta ** step is 1."""


class BertAdam(Optimizer):
    """Adam without bias correction, with decoupled decay, clipping the gradient of each parameter tensor by itself.

    update = m / (sqrt(v) + eps) + weight_decay * p, p -= lr * update; beta 0.9 and 0.999, eps 1e-6. That is what AdamW
    does after so many steps that its bias correction is 1; torch's fused kernel does it in one pass over each tensor.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        clip_norm: float = 1.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "clip_norm": clip_norm}
        )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; the gradients are clipped in place."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {"mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        grads = [p.grad for p in params if p.grad is not None]
        means = [self.state[p]["mean"] for p in params]
        squares = [self.state[p]["square"] for p in params]
        beta1, beta2 = group["betas"]

        norms = torch.stack(torch._foreach_norm(grads))
        factors = (group["clip_norm"] / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(grads, list(factors.unbind()))

        adamw(
            params,
            grads,
            means,
            squares,
            max_exp_avg_sqs=[],
            state_steps=[torch.tensor(_FAR, device=params[0].device)] * len(params),
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )


def optimiser_for(model: Network, config: TrainConfig) -> BertAdam:
    """The optimiser of `model`, which says what decays."""
    decayed, parameters = model.decayed(), dict(model.named_parameters())
    groups = [
        {"params": [p for name, p in parameters.items() if (name in decayed) is decays], "weight_decay": decay}
        for decays, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    return BertAdam(groups, config.lr, clip_norm=config.clip_norm)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """The learning rate of a step counted from 0: linear from 0 to `lr` over the warm-up, then linear to 0 at `total`.

    >>> config = TrainConfig(lr=1.0, warmup=0.1)
    >>> [round(learning_rate(step, 20, config), 3) for step in (0, 1, 2, 11, 20)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    progress, warmup = step / total, config.warmup
    share = progress / warmup if progress < warmup else max((1 - progress) / (1 - warmup), 0.0)
    return config.lr * share
