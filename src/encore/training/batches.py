"""The order in which examples are trained on: seeded, grouped by length, fixed for the whole training."""

from __future__ import annotations

import random
from collections.abc import Sequence


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
