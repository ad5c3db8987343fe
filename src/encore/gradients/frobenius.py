"""Per-example gradient norms: how long the gradient of each weight matrix is, without keeping any gradient.

Source: PRISM (arXiv 2601.07224), section 2, equation 1, with the loss averaged over an example's response tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from encore.gradients.backward import NonFinite, checked, product, report_non_finite, run
from encore.gradients.layers import Layer, adapter_layers, find_layers
from encore.gradients.layout import Batch, Rows

BUFFER = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Most numbers of per-example products at once: what fits a core's cache (1 MB), or 256 MB of an accelerator's."""


@dataclass(frozen=True)
class Probe:
    """What one pass over the data tells of each example, in the order of the examples."""

    norms: Float[Tensor, "examples matrices"]
    losses: Float[Tensor, " examples"]
    ids: list[str]
    matrices: list[str]
    non_finite: list[str]
    """Ids of the examples whose row of `norms` is NaN because their loss or a gradient was not finite."""


def norms(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    layers: Sequence[str] | Literal["adapters"] | None = None,
    context_length: int | None = None,
    non_finite: NonFinite = "raise",
    on_batch: Callable[[int], None] | None = None,
) -> Float[Tensor, "examples matrices"]:
    """Frobenius norms of ∂(mean response-token loss)/∂W of each example for each weight matrix W, float32, on the CPU.

    One forward and one backward pass a batch; the model is left as it was, and no parameter gets a gradient. The model
    must be causal; a result does not depend on batch size, padding side or order. Rows follow the examples (or the
    `order` that `gradients.batches` put in), columns the layers: q, k, v, o, gate, up, down, block by block.

    Args:
        batches: dicts of `input_ids`, `attention_mask`, `response_mask` [rows, positions], padded on either side or
            packed with `position_ids`; `ids` names the examples in errors.
        layers: last names of the layers to measure (None: every linear layer but the head), or "adapters" for the A and
            B matrices of a LoRA model.
        context_length: longest example allowed, in tokens; None: what the model's config says.
        non_finite: "raise" stops at the first example whose loss or gradient is not finite; "exclude" makes its whole
            row NaN and logs its id, and leaves every other row as it is.
        on_batch: called after each batch with the number of examples in it (for a progress bar).

    Raises:
        UserError: an example without response tokens, longer than the context, or with ids outside the vocabulary; no
            matching layer (all before any compute); a non-finite gradient, under "raise".
    """
    return probe(
        model, batches, layers=layers, context_length=context_length, non_finite=non_finite, on_batch=on_batch
    ).norms


def probe(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    layers: Sequence[str] | Literal["adapters"] | None = None,
    context_length: int | None = None,
    non_finite: NonFinite = "raise",
    on_batch: Callable[[int], None] | None = None,
) -> Probe:
    """As `norms`, with what else the same pass gives: losses, ids, and the names of the matrices."""
    chosen = adapter_layers(model) if layers == "adapters" else find_layers(model, layers)
    groups = checked(model, batches, context_length)
    n_examples = sum(map(len, groups))
    result = torch.empty(n_examples, len(chosen))
    losses = torch.empty(n_examples)
    ids = [""] * n_examples
    excluded: list[str] = []
    squared = SquaredNorms(chosen)

    def after_batch(rows: Rows, batch_losses: Tensor) -> None:
        batch_norms = squared.collect(batch_losses.device).sqrt()
        bad = ~(torch.isfinite(batch_norms).all(1) & torch.isfinite(batch_losses))
        excluded.extend(report_non_finite(rows, bad, non_finite))
        batch_norms[bad] = torch.nan
        result[rows.places] = batch_norms.cpu()
        losses[rows.places] = batch_losses.cpu()
        for place, name in zip(rows.places.tolist(), rows.ids, strict=True):
            ids[place] = name
        if on_batch is not None:
            on_batch(len(rows.ids))

    run(model, chosen, groups, squared, after_batch)
    return Probe(result, losses, ids, [layer.name for layer in chosen], excluded)


class SquaredNorms:
    """Callback of the backward pass that reduces each layer's activations and output gradients to squared norms."""

    def __init__(self, layers: Sequence[Layer]):
        self.layers = layers
        self.squared: dict[int, Float[Tensor, " examples"]] = {}
        self._gram_of: Tensor | None = None
        self._gram: Tensor | None = None

    def __call__(self, siblings: Sequence[int], place: int, activations: Tensor, gradients: Tensor) -> None:
        positions, inputs = activations.shape[1:]
        outputs = sum(self.layers[sibling].shape[0] for sibling in siblings)
        # Multiply-adds an example: direct T·out·in; Gram T²·(out + in), the inputs' part once for all siblings.
        if positions * (outputs + inputs) < outputs * inputs:
            self.squared[place] = squared_gram(gradients, self._input_gram(activations))
        else:
            self.squared[place] = squared_direct(activations, gradients)

    def _input_gram(self, activations: Tensor) -> Tensor:
        if self._gram_of is not activations or self._gram is None:
            self._gram_of, self._gram = activations, product(activations, activations.mT)
        return self._gram

    def collect(self, device: torch.device) -> Float[Tensor, "examples matrices"]:
        """Squared norms of the batch just run, one column a layer; forgets them."""
        columns = [self.squared[place].to(device) for place in range(len(self.layers))]
        self.squared.clear()
        self._gram_of = self._gram = None
        return torch.stack(columns, 1)


def squared_direct(
    activations: Float[Tensor, "examples positions inputs"], gradients: Float[Tensor, "examples positions outputs"]
) -> Float[Tensor, " examples"]:
    """‖gᵢᵀ aᵢ‖² by forming each product and dropping it."""
    step = max(1, BUFFER.get(activations.device.type, 1 << 26) // (activations.shape[2] * gradients.shape[2]))
    return torch.cat(
        [
            torch.linalg.vector_norm(product(g.mT, a), dim=(1, 2)).square()
            for a, g in zip(activations.split(step), gradients.split(step), strict=True)
        ]
    )


def squared_gram(
    gradients: Float[Tensor, "examples positions outputs"], input_gram: Float[Tensor, "examples positions positions"]
) -> Float[Tensor, " examples"]:
    """‖gᵢᵀ aᵢ‖² = ⟨gᵢ gᵢᵀ, aᵢ aᵢᵀ⟩: the same sum in another order, cheaper with fewer positions than features."""
    # Rounding can take a vanishing gradient's sum below zero.
    return (product(gradients, gradients.mT) * input_gram).sum((1, 2)).clamp_min(0)
