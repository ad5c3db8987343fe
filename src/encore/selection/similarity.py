"""How close each pool row is to the targets: the mean, or the largest, cosine. For RDS and sentence-BERT."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from encore.selection.context import Features
from encore.selection.rows import UnitRows, whole

AGGREGATE = ("mean", "max")
_AT_ONCE = 256


def closeness(pool: Features, targets: Features, aggregate: str = "mean") -> Float[Tensor, " examples"]:
    """Mean or largest cosine of each pool row with the targets, float32."""
    rows, aims = UnitRows(pool), whole(targets, "target")
    aims = aims / torch.linalg.vector_norm(aims, dim=1, keepdim=True)
    if aggregate == "mean":
        return rows.cosines(aims.mean(0, keepdim=True))[0]
    best = torch.full((len(rows),), -torch.inf)
    for part in aims.split(_AT_ONCE):
        best = torch.maximum(best, rows.cosines(part).amax(0).cpu())
    return best
