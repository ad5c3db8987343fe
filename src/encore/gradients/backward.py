"""One forward and one backward pass over many examples, with a callback at each layer.

The loss is the sum over examples of the mean loss of their response tokens. Examples do not see each other, so the
gradient that arrives at a layer's output for example i is that of example i's own mean loss, and the weight gradient of
example i is `g_i.mT @ a_i` of its rows alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from encore.errors import UserError
from encore.gradients.layers import Layer, context_and_vocabulary, held_still, output_head, refuse_non_causal
from encore.gradients.layout import Batch, Example, Rows, read_examples, right_padded, validate

log = logging.getLogger(__name__)

NonFinite = Literal["raise", "exclude"]

OnGradient = Callable[
    [Sequence[int], int, Float[Tensor, "examples positions inputs"], Float[Tensor, "examples positions outputs"]], None
]
"""Called once a layer and batch with the places of all layers that have the same input (such as q, k and v), the place
of this one, its input and the gradient of its output."""


class Tap:
    """Hooks on `layers` that call `on_gradient` as the backward pass reaches each layer."""

    def __init__(self, layers: Sequence[Layer], on_gradient: OnGradient):
        self.layers = layers
        self.on_gradient = on_gradient
        self.inputs: dict[int, Tensor] = {}
        self.fed_by: dict[int, list[int]] = {}
        """Places of the layers that an input goes to, by its id, which no other has while `inputs` holds it."""
        self.reached: set[int] = set()

    @contextmanager
    def attached(self) -> Iterator[Tap]:
        handles = [
            layer.module.register_forward_hook(partial(self._after_forward, place))
            for place, layer in enumerate(self.layers)
        ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()
            self.inputs.clear()

    def _after_forward(self, place: int, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        name = self.layers[place].name
        if place in self.inputs:
            raise UserError(
                f"layer {name} ran twice in one forward pass: shared or checkpointed layers are not supported"
            )
        if args[0].ndim != 3:
            raise UserError(
                f"layer {name} got an input of {args[0].ndim} dimensions, not examples x positions x features"
            )
        if not output.requires_grad:  # nothing before this layer needs a gradient: the graph starts at its output,
            output = output.requires_grad_(True).clone()  # at a copy, which the model may change in place
        self.inputs[place] = args[0]
        siblings = self.fed_by.setdefault(id(args[0]), [])
        siblings.append(place)
        output.register_hook(partial(self._at_gradient, siblings, place))
        return output

    def _at_gradient(self, siblings: Sequence[int], place: int, gradient: Tensor) -> None:
        self.reached.add(place)
        with torch.no_grad():
            self.on_gradient(siblings, place, self.inputs.pop(place), gradient.detach())

    def start(self) -> None:
        self.inputs.clear()
        self.fed_by.clear()
        self.reached.clear()

    def check(self) -> None:
        if len(self.reached) != len(self.layers):
            name = next(layer.name for place, layer in enumerate(self.layers) if place not in self.reached)
            raise UserError(f"layer {name} took no part in the loss: name the layers to use with `layers`")


def run(
    model: nn.Module,
    layers: Sequence[Layer],
    groups: Sequence[Sequence[Example]],
    on_gradient: OnGradient,
    after_batch: Callable[[Rows, Float[Tensor, " examples"]], None],
) -> None:
    """Takes every group of examples through the model and back, and leaves the model as it was, whatever happens.

    `after_batch` gets the rows just run, and the mean response-token loss of each, when all layers have been reached.
    The model must be causal: padding stands on the right, unmasked.
    """
    device = next(model.parameters()).device
    with held_still(model), Tap(layers, on_gradient).attached() as tap:
        for group in groups:
            rows = right_padded(group).to(device)
            after_batch(rows, backward(model, tap, rows))


def checked(model: nn.Module, batches: Iterable[Batch], context_length: int | None) -> list[list[Example]]:
    """The examples of all batches, each fit for the model: see `layout.validate` for what is refused."""
    refuse_non_causal(model)
    groups = read_examples(batches)
    context, vocabulary = context_and_vocabulary(model)
    validate(groups, context_length=context_length or context, vocabulary=vocabulary)
    return groups


def report_non_finite(rows: Rows, bad: Bool[Tensor, " examples"], policy: NonFinite) -> list[str]:
    """Ids of the examples marked `bad`: logged under "exclude", fatal under "raise"."""
    names = [rows.ids[row] for row in bad.nonzero()[:, 0].tolist()]
    if names and policy == "raise":
        raise UserError(f'example {names[0]} has a non-finite loss or gradient: drop it, or pass non_finite="exclude"')
    for name in names:
        log.warning("example %s has a non-finite loss or gradient: its row is NaN", name)
    return names


def product(left: Float[Tensor, "examples rows inner"], right: Float[Tensor, "examples inner columns"]) -> Tensor:
    """Batched product in float32: half-precision inputs are summed, and kept, in full precision."""
    if left.dtype == right.dtype == torch.float32:
        return torch.bmm(left, right)
    if left.is_cuda and left.dtype == right.dtype and left.dtype in (torch.bfloat16, torch.float16):
        return torch.bmm(left, right, out_dtype=torch.float32)
    return torch.bmm(left.float(), right.float())


def backward(model: nn.Module, tap: Tap, rows: Rows) -> Float[Tensor, " examples"]:
    """One batch through the model and back; the mean response-token loss of each example, in float32."""
    tap.start()
    with torch.enable_grad():
        logits, targets, owners = _scored_logits(model, rows)
        token_losses = F.cross_entropy(logits.float(), targets, reduction="none")
        counts = rows.scored.sum(1)
        losses = token_losses.new_zeros(len(counts)).index_add(0, owners, token_losses) / counts
    losses.sum().backward()
    tap.check()
    return losses.detach()


def _scored_logits(model: nn.Module, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Logits where a response token is predicted, that token, and the example it belongs to.

    The head runs on those positions only: with a large vocabulary it is much of a small model's work, and full logits
    are most of its memory.
    """
    owners, positions = rows.scored.nonzero(as_tuple=True)
    targets = rows.tokens[owners, positions]
    head = output_head(model)
    options = {"use_cache": False} if hasattr(model, "config") else {}

    def only_scored(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][owners, positions - 1][None], *args[1:])

    handle = head.register_forward_pre_hook(only_scored) if head is not None else None
    try:
        output = model(input_ids=rows.tokens, **options)
    finally:
        if handle is not None:
            handle.remove()
    logits = output if isinstance(output, Tensor) else output.logits
    return (logits[0] if head is not None else logits[owners, positions - 1]), targets, owners
