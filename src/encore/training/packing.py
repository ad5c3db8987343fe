"""Packed rows: the examples of a micro-batch behind one another in one row, so that nothing is padding.

Linear layers see real tokens only, attention keeps the examples apart (`encore.training.attention`), and logits are
computed only where the next token is learned from, which spares most of the head of a large vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from encore.errors import UserError
from encore.training.attention import UNPACKED, Boundaries, attending_within_examples
from encore.training.batches import token_weights
from encore.trajectories import Example

CHECKED_TOKENS = 32  # of each example that is looked at before the training


class PackedRows:
    """Collates examples into one row.

    A batch has `input_ids` and `position_ids` [1, tokens], positions starting anew with each example; `lengths` of the
    examples; `targets` [learned], the places of the tokens that are learned from (never an example's first), with
    `loss_weights` [learned]; and `counts` as in `PaddedRows`.
    """

    def __init__(self, context_weight: float) -> None:
        self.context_weight = context_weight

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(row["input_ids"]) for row in rows]
        weights = torch.cat([token_weights(row["response_mask"], self.context_weight) for row in rows])
        targets = weights.nonzero().flatten()
        tokens = sum(lengths)
        return {
            "input_ids": torch.cat([torch.tensor(row["input_ids"]) for row in rows])[None],
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "lengths": lengths,
            "targets": targets,
            "loss_weights": weights[targets],
            "counts": {"computed": tokens, "real": tokens, "response": len(targets), "examples": len(rows)},
        }


def packed_losses(model: torch.nn.Module, batch: dict[str, Any]) -> Float[Tensor, " learned"]:
    """Cross-entropy, in nats, of each token that a batch of `PackedRows` learns from, in its order.

    `model` may be wrapped (DDP, PEFT); it has to be inside `attending_within_examples`.
    """
    input_ids, targets = batch["input_ids"], batch["targets"]
    logits = model(
        input_ids=input_ids,
        position_ids=batch["position_ids"],
        boundaries=Boundaries.of(batch["lengths"], input_ids.device),
        logits_to_keep=targets - 1,
        use_cache=False,
    ).logits[0]
    precise = torch.promote_types(logits.dtype, torch.float32)
    return cross_entropy(logits.to(precise), input_ids[0, targets], reduction="none")


@torch.no_grad()
def check_packable(model: PreTrainedModel, examples: Sequence[Example], autocast: torch.dtype | None = None) -> None:
    """Raises UserError unless `model` computes an example behind another as it computes it alone.

    The proof is on the model itself, because no flag of an architecture tells it: a state-space layer, say, would carry
    the first example's state into the second. Looks at the beginnings of the first and the last of `examples`;
    `autocast` is the precision that the training computes in.
    """
    name = type(model).__name__
    if "logits_to_keep" not in inspect.signature(type(model).forward).parameters:
        raise UserError(f"{name} cannot compute the logits of chosen tokens alone, as packed rows need: {UNPACKED}")
    device = model.device
    starts = (example.input_ids[:CHECKED_TOKENS] for example in (examples[0], examples[-1]))
    first, second = (torch.tensor(tokens, device=device) for tokens in starts)
    other = (first + 1) % model.config.get_text_config().vocab_size
    boundaries = Boundaries.of([len(first), len(second)], device)
    places = torch.cat([torch.arange(length, device=device) for length in boundaries.lengths])[None]

    def behind(before: Tensor) -> Float[Tensor, "tokens vocabulary"]:
        row = torch.cat([before, second])[None]
        logits = model(input_ids=row, position_ids=places, boundaries=boundaries, use_cache=False).logits
        return logits[0, len(before) :].float()

    was_training = model.training
    model.eval()
    try:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            alone = model(input_ids=second[None], use_cache=False).logits[0].float()
            with attending_within_examples(model):
                packed, changed = behind(first), behind(other)
    except TypeError as error:  # a forward that takes no `boundaries`
        raise UserError(f"{name} takes no packed rows ({error}): {UNPACKED}") from error
    finally:
        model.train(was_training)
    exact = autocast is None and model.dtype.itemsize >= 4
    # Another example leaves no trace, but for rounding where it changes the shape of a product (mixtures of experts).
    if _difference(packed, changed) > (1e-6 if exact else 1e-3):
        raise UserError(f"{name} lets an example of a packed row see the one before it: {UNPACKED}")
    if not _difference(packed, alone) <= (1e-3 if exact else 5e-2):  # another kernel rounds otherwise
        raise UserError(f"{name} computes an example of a packed row otherwise than alone: {UNPACKED}")


def _difference(these: Tensor, those: Tensor) -> float:
    """Relative, of the token that differs most."""
    return ((these - those).norm(dim=-1) / those.norm(dim=-1)).max().item()
