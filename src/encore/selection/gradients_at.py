"""The features of pool and targets that a gradient method asks for: which reading of Adam, which checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError
from encore.selection.checks import check_rows
from encore.selection.context import Features, SelectionContext
from encore.selection.influence import checkpoint_shares
from encore.selection.rows import Checkpoints, Rows, UnitRows, whole

ADAM = ("less_code", "paper", "sgd")
"""Kinds of pool gradients: two readings of Adam's, and the plain one."""


def missing(context: SelectionContext) -> str | None:
    """A reason to skip a method that needs gradients, or None if they are there."""
    kind = context.parameters.get("adam", ADAM[0])
    for what, kinds, wanted in (("pool", context.pool_features, kind), ("target", context.target_features, "sgd")):
        if not kinds.get(wanted):
            return f"needs {what} features of kind {wanted!r}; there are {', '.join(sorted(kinds)) or 'none'}"
    return None


def pool_rows(context: SelectionContext, adam: str, checkpoint: int | str) -> Rows:
    """Unit rows of the pool at a checkpoint (-1: the last), or at "all", weighted as LESS weighs them."""
    every = context.pool_features[adam]
    for one in _at(every, checkpoint)[:1]:
        check_rows(one)
    rows = [UnitRows(one) for one in _at(every, checkpoint)]
    return (
        rows[0] if checkpoint != "all" else Checkpoints(rows, checkpoint_shares(context.checkpoint_weights, len(rows)))
    )


def target_rows(context: SelectionContext, checkpoint: int | str, unit: bool = False) -> Float[Tensor, "targets dim"]:
    """Plain gradients of the targets, float64, side by side for "all" checkpoints; `unit`: each of length 1."""
    every = [whole(one, "target") for one in _at(context.target_features["sgd"], checkpoint)]
    if unit:
        every = [one / torch.linalg.vector_norm(one, dim=1, keepdim=True) for one in every]
    shares = checkpoint_shares(context.checkpoint_weights, len(every)) if checkpoint == "all" else [1.0]
    return torch.cat([one * share**0.5 for one, share in zip(every, shares, strict=True)], 1)


def _at(every: Any, checkpoint: int | str) -> list[Features]:
    if checkpoint == "all":
        return list(every)
    if not isinstance(checkpoint, int) or not -len(every) <= checkpoint < len(every):
        raise UserError(f'checkpoint is {checkpoint!r}: it must be "all" or the number of one of {len(every)}')
    return [every[checkpoint]]
