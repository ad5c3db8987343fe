"""Input that no selection can be made from, refused in one line before anything is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encore.errors import UserError
from encore.gradients import Store

Features = Store | Tensor | np.ndarray
_PROBE = 16


def check_texts(pool: Sequence[str], targets: Sequence[str]) -> None:
    """Refuses an empty pool, no target, a duplicate in the pool, and a target inside the pool.

    Texts that differ only in white space are equal.
    """
    if not len(pool):
        raise UserError("the pool is empty: there is nothing to choose from")
    if not len(targets):
        raise UserError("there is no target example: a selection needs at least one")
    seen: dict[str, int] = {}
    for place, text in enumerate(pool):
        first = seen.setdefault(" ".join(text.split()), place)
        if first != place:
            raise UserError(f"pool example {place} repeats example {first}: drop duplicates from the pool")
    for place, text in enumerate(targets):
        found = seen.get(" ".join(text.split()))
        if found is not None:
            raise UserError(f"target example {place} is in the pool, as example {found}: drop it from the pool")


def check_same_space(*features: Features) -> None:
    """Refuses features whose inner products mean nothing: of other widths or other projectors."""
    widths = [one.dim if isinstance(one, Store) else one.shape[1] if one.ndim == 2 else -1 for one in features]
    if -1 in widths:
        raise UserError("features are examples x dimensions: one of them is not a matrix")
    if len(set(widths)) > 1:
        raise UserError(
            f"features have {' and '.join(str(width) for width in sorted(set(widths)))} dimensions: "
            "they come from different projectors or adapters: make them with one"
        )
    known: list[Any] = [one.about.get("projector") for one in features if isinstance(one, Store)]
    for other in known[1:]:
        if other != known[0]:
            raise UserError(f"features come from different projectors, {known[0]} and {other}: make them with one")


def check_features(
    pool: Mapping[str, Sequence[Features]],
    targets: Mapping[str, Sequence[Features]],
    examples: int,
    target_examples: int,
) -> None:
    """Refuses features that do not fit the examples, or each other: see `check_same_space`.

    What a store says of its model must be the same for pool and targets at a checkpoint.
    """
    for what, kinds, rows in (("pool", pool, examples), ("target", targets, target_examples)):
        for kind, every in kinds.items():
            for place, one in enumerate(every):
                if len(one) != rows:
                    found = f"{what} features {kind} of checkpoint {place} have {len(one)} rows for {rows} examples"
                    raise UserError(f"{found}: they come from other data")
    every_kind = [*pool.values(), *targets.values()]
    check_same_space(*(one for every in every_kind for one in every))
    for at_checkpoint in zip_longest(*every_kind):
        models = {one.about.get("model") for one in at_checkpoint if isinstance(one, Store)}
        if len(models) > 1:
            raise UserError("features of one checkpoint come from different models: make them with the same adapter")


def check_rows(features: Features, what: str = "pool") -> None:
    """Refuses features in which two examples are equal, bit for bit.

    Rows are first compared in a few of their numbers, and in all of them only where those are equal.
    """
    numbers = _first_numbers(features)
    bits = numbers.view(np.dtype(f"u{numbers.itemsize}")).astype(np.uint64)
    factors = np.random.default_rng(0).integers(0, 1 << 63, bits.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(
        1
    )
    sums = (bits * factors).sum(1)  # modulo 2⁶⁴: equal for rows that are equal so far, and else hardly ever
    _, owner, counts = np.unique(sums, return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for place in np.flatnonzero(counts[owner] > 1).tolist():
        row = features[place]
        content = row if isinstance(row, np.ndarray) else torch.as_tensor(row).detach().cpu().numpy()
        first = seen.setdefault(hashlib.sha256(content.tobytes()).digest(), place)
        if first != place:
            raise UserError(f"{what} examples {first} and {place} have the same gradient: drop duplicates")


def _first_numbers(features: Features) -> np.ndarray:
    if isinstance(features, Store):
        parts = [shard.array("values", _dtype(features), (len(shard.ids), features.dim)) for shard in features.shards]
        return np.concatenate([np.array(part[:, :_PROBE]) for part in parts])
    rows = torch.as_tensor(features).detach()[:, :_PROBE].cpu()
    return np.ascontiguousarray(rows.float().numpy() if rows.dtype == torch.bfloat16 else rows.numpy())


def _dtype(store: Store) -> np.dtype[Any]:
    return np.dtype({"fp16": np.float16, "int8": np.int8, "fp32": np.float32}[store.dtype])
