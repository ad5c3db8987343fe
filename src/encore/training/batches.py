"""The order in which examples are trained on, seeded and fixed for the whole training, and batches that are padded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def training_order(lengths: Sequence[int], batch: int, epochs: float, seed: int, window: int = 24) -> list[int]:
    """Indices of examples in the order of training, in whole batches of `batch`.

    Every epoch is a new permutation; permutations follow one another without a break, so that no batch is short. Each
    stretch of `window` batches is sorted by length, cut into batches, and its batches are shuffled: examples of a
    batch are about equally long, which keeps padding low, and their order stays random at the scale of a window.
    The number of batches is `epochs * len(lengths) / batch`, rounded, at least one.
    """
    generator = random.Random(seed)
    total = max(1, round(epochs * len(lengths) / batch)) * batch
    stream: list[int] = []
    while len(stream) < total:
        permutation = list(range(len(lengths)))
        generator.shuffle(permutation)
        stream += permutation
    order: list[int] = []
    for start in range(0, total, window * batch):
        stretch = sorted(stream[start : min(start + window * batch, total)], key=lambda index: lengths[index])
        batches = [stretch[first : first + batch] for first in range(0, len(stretch), batch)]
        generator.shuffle(batches)
        order += [index for members in batches for index in members]
    return order


def balanced(order: Sequence[int], lengths: Sequence[int], batch: int, micro: int) -> list[int]:
    """`order` with the members of each batch dealt out to its micro-batches so that these have about equal tokens.

    Each batch keeps its members, and each micro-batch has exactly `micro` of them; `batch` is a multiple of `micro`.
    The longest goes first, always to the micro-batch with the fewest tokens among those that have room.
    """
    dealt: list[int] = []
    for start in range(0, len(order), batch):
        hands: list[list[int]] = [[] for _ in range(batch // micro)]
        tokens = [0] * len(hands)
        for index in sorted(order[start : start + batch], key=lambda index: -lengths[index]):
            open_hands = (place for place in range(len(hands)) if len(hands[place]) < micro)
            chosen = min(open_hands, key=lambda place: tokens[place])
            hands[chosen].append(index)
            tokens[chosen] += lengths[index]
        dealt += [index for hand in hands for index in hand]
    return dealt


def token_weights(response_mask: Sequence[int], context_weight: float) -> Float[Tensor, " tokens"]:
    """Loss weight of each token of an example: 1 in responses, `context_weight` elsewhere, 0 for the first token.

    Nothing precedes the first token, so nothing can predict it.
    """
    response = torch.tensor(response_mask, dtype=torch.float32)
    weights = response + (1 - response) * context_weight
    weights[0] = 0
    return weights


class PaddedRows:
    """Collates examples into rows padded on the right.

    A batch has `input_ids`, `attention_mask`, `labels` and `loss_weights` [examples, longest], and `counts`: tokens
    `computed` (padding among them) and `real`, `response` tokens that are learned from, and `examples`.
    """

    def __init__(self, pad_id: int, context_weight: float) -> None:
        self.pad_id = pad_id
        self.context_weight = context_weight

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(row["input_ids"]) for row in rows)
        input_ids = torch.full((len(rows), longest), self.pad_id)
        attention_mask = torch.zeros((len(rows), longest), dtype=torch.long)
        weights = torch.zeros((len(rows), longest))
        for index, row in enumerate(rows):
            length = len(row["input_ids"])
            input_ids[index, :length] = torch.tensor(row["input_ids"])
            attention_mask[index, :length] = 1
            weights[index, :length] = token_weights(row["response_mask"], self.context_weight)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": torch.where(weights > 0, input_ids, -100),
            "loss_weights": weights,
            "counts": {
                "computed": input_ids.numel(),
                "real": int(attention_mask.sum()),
                "response": int((weights > 0).sum()),
                "examples": len(rows),
            },
        }
