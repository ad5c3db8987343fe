"""Core knowledge of the targets: the leading principal components of their gradients.

Source: G2IS (arXiv 2502.11062), section 3 as its public code reads it: scikit-learn's PCA of the raw target gradients,
centred. Here by the Gram matrix of the examples, which are far fewer than the dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError

PcaMode = Literal["variance", "count_ratio", "count"]
Sign = Literal["native", "mean"]


@dataclass(frozen=True)
class Core:
    """Directions that the targets spread along, most variance first."""

    components: Float[Tensor, "components dim"]
    """Unit vectors, float64."""
    ratios: Float[Tensor, " components"]
    """Share of the targets' variance along each."""

    @property
    def weights(self) -> Float[Tensor, " components"]:
        """Shares of the budget: the ratios, scaled to sum to 1."""
        return self.ratios / self.ratios.sum()


def core_knowledge(
    targets: Float[Tensor, "targets dim"],
    variance: float = 0.5,
    *,
    mode: PcaMode = "variance",
    centred: bool = True,
    sign: Sign = "native",
) -> Core:
    """Principal components of the target gradients, as scikit-learn's `PCA(...).fit(targets)` gives them.

    Args:
        variance: "variance": the fewest components that hold more than this share of the variance (0 to 1, exclusive);
            "count_ratio": this share of the dimensions, as many components (the code's other mode);
            "count": this share of the smaller of examples and dimensions, rounded up.
        centred: whether the mean gradient, which is the whole of LESS's signal, is taken out first.
        sign: "native": the entry of largest absolute value is positive, which is scikit-learn's rule;
            "mean": the mean target gradient is on the positive side.

    Raises:
        UserError: fewer target examples than components; targets that do not differ; a parameter out of its range.
    """
    if not 0 < variance < 1 and not (mode != "variance" and variance == 1):
        raise UserError(f"variance is {variance}: it must be between 0 and 1")
    examples, dim = targets.shape
    count = _count(mode, variance, examples, dim)
    rows = targets.double()
    mean = rows.mean(0)
    if centred:
        rows = rows - mean
    values, directions = _decompose(rows, float(targets.double().square().sum()))
    if not len(values):
        raise UserError(f"the {examples} target gradients do not differ: a principal component needs two that do")
    ratios = values / rows.square().sum()
    if count is None:  # the first place where the running sum exceeds `variance`, as numpy's searchsorted finds it
        count = int(torch.searchsorted(ratios.cumsum(0), variance, right=True)) + 1
    components = directions(min(count, len(values)))
    largest = components.abs().argmax(1, keepdim=True)
    turn = components.gather(1, largest)[:, 0] < 0
    if sign == "mean":
        turn = components @ mean < 0
    elif sign != "native":
        raise UserError(f'sign is {sign!r}: it must be "native" or "mean"')
    components[turn] *= -1
    return Core(components, ratios[: len(components)])


def _count(mode: PcaMode, share: float, examples: int, dim: int) -> int | None:
    """Number of components, None where the variance decides."""
    if mode == "variance":
        return None
    if mode not in ("count_ratio", "count"):
        raise UserError(f'pca_mode is {mode!r}: it must be "variance", "count_ratio" or "count"')
    count = max(1, int(dim * share)) if mode == "count_ratio" else math.ceil(share * min(examples, dim))
    if count > min(examples, dim):
        raise UserError(
            f"{count} principal components of {examples} target examples in {dim} dimensions: there are fewer target "
            f'examples than components: use pca_mode "variance" or "count", or more target examples'
        )
    return count


def _decompose(
    rows: Float[Tensor, "targets dim"], size: float
) -> tuple[Float[Tensor, " rank"], Callable[[int], Float[Tensor, "count dim"]]]:
    """Squared singular values above rounding, largest first, and a function for so many right singular vectors.

    `size` is the sum of squares of the rows before their mean was taken out, which sets what rounding is.
    """
    tall = len(rows) > rows.shape[1]
    values, vectors = torch.linalg.eigh(rows.T @ rows if tall else rows @ rows.T)
    values, vectors = values.flip(0), vectors.flip(1)
    rounding = torch.finfo(torch.float64).eps
    kept = values > max(float(values[0]) * len(values) * rounding, size * (16 * rounding) ** 2)
    values, vectors = values[kept], vectors[:, kept]

    def directions(count: int) -> Tensor:
        if tall:
            return vectors[:, :count].T.clone()
        found = vectors[:, :count].T @ rows
        return found / torch.linalg.vector_norm(found, dim=1, keepdim=True)

    return values, directions
