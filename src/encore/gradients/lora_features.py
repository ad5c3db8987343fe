"""Projected per-example gradients of a LoRA adapter: the features that LESS and G2IS compare examples by.

The gradients of A and B are low-rank products of activations and output gradients, `g.mT @ a`, [rank x features]. They
are formed one matrix and a few examples at a time inside the backward pass, adjusted, projected and dropped: the whole
gradient of an example never exists, nor does a dense column of the projection. The product itself cannot be left out:
Adam's adjustment divides entry by entry, so no projection of `g` and `a` apart gives it. It costs what the adapter's
own weight gradient costs in training, a small part of a pass through the frozen base.

Sources: LESS (arXiv 2402.04333), section 3; G2IS (arXiv 2502.11062), whose pipeline is that of LESS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from encore.errors import UserError
from encore.gradients.adam import Adam, Moments, State, read_moments
from encore.gradients.backward import NonFinite, checked, product, report_non_finite, run
from encore.gradients.layers import Layer, adapter_layers
from encore.gradients.layout import Batch, Rows
from encore.gradients.projectors import Projector

BUFFER = 1 << 26
"""Most numbers of gradients held at once (256 MB in float32)."""


def features(
    model: nn.Module,
    batches: Iterable[Batch],
    projector: Projector,
    optimizer_state: State | None = None,
    adam: Adam = "less_code",
    *,
    context_length: int | None = None,
    non_finite: NonFinite = "raise",
    on_batch: Callable[[int], None] | None = None,
) -> Float[Tensor, "examples dim"]:
    """Projected gradient of each example's mean response-token loss for the A and B matrices, float32, on the CPU.

    Coordinates follow the adapter's entries in `named_parameters()`, each row by row; the projection is linear, so
    inner products of rows stand for inner products of gradients. One forward and one backward pass a batch; the model
    is left as it was, and a result does not depend on batch size, padding side, order or device.

    Args:
        model: a PEFT LoRA model, causal.
        batches: as for `gradients.norms`.
        projector: `Sparse(dim, seed)`, `Rademacher(dim, seed)` or `Whole()`.
        optimizer_state: Adam's, after a warm-up: the gradients are turned into Adam's steps (for training examples).
            None: plain gradients (for validation examples). See `adam.read_moments` for the forms it may have.
        adam: the reading of LESS, see `adam.Moments.adjust`.
        context_length, non_finite, on_batch: as for `gradients.norms`.

    Raises:
        UserError: as `gradients.norms`; an optimizer state of another adapter (before any compute).
    """
    layers = adapter_layers(model)
    if adam not in ("less_code", "paper"):
        raise UserError(f'adam is "less_code" or "paper", not {adam!r}')
    moments = None if optimizer_state is None else read_moments(optimizer_state, model, layers)
    groups = checked(model, batches, context_length)
    projection = Projection(layers, projector, moments, adam)
    result = torch.empty(sum(map(len, groups)), projection.width)

    def after_batch(rows: Rows, losses: Tensor) -> None:
        batch_features = projection.collect()
        bad = ~(torch.isfinite(batch_features).all(1) & torch.isfinite(losses))
        report_non_finite(rows, bad, non_finite)
        batch_features[bad] = torch.nan
        result[rows.places] = batch_features.cpu()
        if on_batch is not None:
            on_batch(len(rows.ids))

    run(model, layers, groups, projection, after_batch)
    return result


class Projection:
    """Callback of the backward pass that forms, adjusts and projects each layer's per-example gradients."""

    def __init__(self, layers: Sequence[Layer], projector: Projector, moments: Sequence[Moments] | None, adam: Adam):
        self.projector = projector
        self.moments = moments
        self.adam = adam
        sizes = [outputs * inputs for outputs, inputs in (layer.shape for layer in layers)]
        self.offsets = [sum(sizes[:place]) for place in range(len(sizes))]
        self.width = projector.width(sum(sizes))
        self.total: Tensor | None = None

    def __call__(self, siblings: Sequence[int], place: int, activations: Tensor, gradients: Tensor) -> None:
        if self.total is None:
            self.total = torch.zeros(len(activations), self.width, device=activations.device)
        step = max(1, BUFFER // (activations.shape[2] * gradients.shape[2]))
        parts = zip(activations.split(step), gradients.split(step), self.total.split(step), strict=True)
        for part_activations, part_gradients, total in parts:
            values = product(part_gradients.mT, part_activations).flatten(1)
            if self.moments is not None:
                values = self.moments[place].adjust(values, self.adam)
            self.projector.add(total, values.to(total.device), self.offsets[place])

    def collect(self) -> Float[Tensor, "examples dim"]:
        """Features of the batch just run; forgets them."""
        if self.total is None:
            raise UserError("no layer of the adapter took part in the loss")
        total, self.total = self.total, None
        return total
