"""LESS: how much a step on an example would lower the targets' loss, to first order, summed over checkpoints.

Source: arXiv 2402.04333, definition 3.1 and section 4.2, aggregated as in its public code (matching.py): the mean over
a subtask of the cosines (the paper: the cosine with a mean), then the largest subtask.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError
from encore.gradients import Store
from encore.selection.checks import check_same_space
from encore.selection.rows import UnitRows, whole

Checkpointed = Store | Tensor | np.ndarray | Sequence[Store | Tensor | np.ndarray]


def less_scores(
    train: Checkpointed,
    validation: Checkpointed,
    checkpoint_weights: Sequence[float] = (),
    subtasks: Sequence[Hashable] = (),
    *,
    device: str | None = None,
) -> Float[Tensor, " examples"]:
    """Influence of each pool example on the subtask it helps most, float32; see `subtask_scores`."""
    return subtask_scores(train, validation, checkpoint_weights, subtasks, device=device).amax(0)


def subtask_scores(
    train: Checkpointed,
    validation: Checkpointed,
    checkpoint_weights: Sequence[float] = (),
    subtasks: Sequence[Hashable] = (),
    *,
    device: str | None = None,
) -> Float[Tensor, "subtasks examples"]:
    """Σ_c w_c · mean over a subtask's targets of the cosine at checkpoint c; subtasks in order of appearance.

    The mean of cosines with unit targets is the product with the mean unit target, so each store is read once.

    Args:
        train: features of the pool [examples, dim], one entry a checkpoint.
        validation: of the targets, likewise.
        checkpoint_weights: learning rates of the checkpoints or any multiple; scaled to sum to 1. Empty: equal.
        subtasks: of each target example; empty: all of one.

    Raises:
        UserError: lists of different lengths; no rows; a row of zeros or with NaN; features of different projectors.
    """
    pools, targets = _listed(train), _listed(validation)
    if len(pools) != len(targets) or not pools:
        raise UserError(f"the pool has features of {len(pools)} checkpoints, the targets of {len(targets)}")
    weights = checkpoint_shares(checkpoint_weights, len(pools))
    for pool, target in zip(pools, targets, strict=True):
        check_same_space(pool, target)
    total: Tensor | None = None
    for pool, target, weight in zip(pools, targets, weights, strict=True):
        rows = UnitRows(pool, device=device)
        if total is not None and len(rows) != total.shape[1]:
            raise UserError(f"a checkpoint has {len(rows)} pool rows, another {total.shape[1]}: they are of two pools")
        found = rows.cosines(weight * _means(whole(target, "target"), subtasks))
        total = found if total is None else total.add_(found)
    assert total is not None
    return total


def checkpoint_shares(weights: Sequence[float], checkpoints: int) -> list[float]:
    """The weights scaled to sum to 1; equal ones if there are none.

    Raises:
        UserError: as many as the checkpoints they are not, or one is not above zero.
    """
    given = [float(weight) for weight in weights] if len(weights) else [1.0] * checkpoints
    if len(given) != checkpoints:
        raise UserError(f"{len(given)} checkpoint weights for {checkpoints} checkpoints: give one each")
    if not all(0 < weight < float("inf") for weight in given):
        raise UserError(f"checkpoint weights are {given}: each must be above 0")
    return [weight / sum(given) for weight in given]


def _means(targets: Float[Tensor, "targets dim"], subtasks: Sequence[Hashable]) -> Float[Tensor, "subtasks dim"]:
    names = list(subtasks) if len(subtasks) else [None] * len(targets)
    if len(names) != len(targets):
        raise UserError(f"{len(names)} subtasks for {len(targets)} target examples: name one for each")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    owner = torch.tensor([numbers[name] for name in names])
    shares = torch.zeros(len(numbers), len(targets), dtype=torch.float64)
    shares[owner, torch.arange(len(targets))] = 1 / (
        torch.linalg.vector_norm(targets, dim=1) * torch.bincount(owner)[owner]
    )
    return shares @ targets


def _listed(features: Checkpointed) -> list[Store | Tensor | np.ndarray]:
    if isinstance(features, Store) or hasattr(features, "shape"):
        return [features]  # type: ignore[list-item]
    return list(features)
