"""How unevenly an example's gradient is spread over the weight matrices.

Source: PRISM (arXiv 2601.07224), section 2, which names the metrics and leaves their formulas to common use; the
readings taken are in `concentration`. All but `l2` ignore the scale of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Float

from encore.errors import UserError

if TYPE_CHECKING:  # the split stage is a small process: torch is not imported unless its tensors come in
    from torch import Tensor


@overload
def concentration(norms: Tensor, metric: str = "gini") -> Tensor: ...
@overload
def concentration(norms: np.ndarray, metric: str = "gini") -> np.ndarray: ...
def concentration(norms: Any, metric: str = "gini") -> Any:
    """Score of each row of `norms` [examples, matrices] -> [examples], float64, the same kind of array as `norms`.

    Metrics, of a row g of N norms with mean m and population deviation sd (divided by N):
        gini: Σₖ (2k − N − 1) g₍ₖ₎ / (N Σ g), g sorted upwards: 0 for equal norms, 1 − 1/N for a single non-zero one
        kurtosis: mean((g − m)⁴) / sd⁴, not minus 3
        cv: sd / m
        l2: √Σ g², the magnitude baseline of table 4: no concentration

    A score that is undefined (gini and cv of a row of zeros, kurtosis of equal norms, any of a row with NaN) is NaN.

    Raises:
        UserError: an unknown metric; a negative norm; anything but a matrix.
    """
    if metric not in METRICS:
        raise UserError(f"unknown concentration metric {metric!r}: choose from {', '.join(METRICS)}")
    tensor = hasattr(norms, "detach")
    values = np.asarray(norms.detach().cpu().double().numpy() if tensor else norms, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise UserError(f"norms are examples x matrices, not of shape {list(values.shape)}")
    if (values < 0).any():
        raise UserError(
            f"a gradient norm is negative, at row {int((values < 0).any(1).argmax())}: pass norms, not gradients"
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = METRICS[metric](values)
    if tensor:
        import torch

        return torch.from_numpy(scores)
    return scores


def gini(norms: Float[np.ndarray, "examples matrices"]) -> Float[np.ndarray, " examples"]:
    n = norms.shape[1]
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return (np.sort(norms, 1) * ranks).sum(1) / (n * norms.sum(1))


def kurtosis(norms: Float[np.ndarray, "examples matrices"]) -> Float[np.ndarray, " examples"]:
    mean = norms.mean(1, keepdims=True)
    deviations = norms - mean
    # Equal norms leave rounding of the mean behind, which is no deviation.
    deviations[np.abs(deviations).max(1) <= 4 * np.finfo(np.float64).eps * mean[:, 0]] = 0
    variance = (deviations**2).mean(1)
    return (deviations**4).mean(1) / variance**2


def coefficient_of_variation(norms: Float[np.ndarray, "examples matrices"]) -> Float[np.ndarray, " examples"]:
    return norms.std(1) / norms.mean(1)


def magnitude(norms: Float[np.ndarray, "examples matrices"]) -> Float[np.ndarray, " examples"]:
    return np.sqrt((norms**2).sum(1))


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gini": gini,
    "kurtosis": kurtosis,
    "cv": coefficient_of_variation,
    "l2": magnitude,
}
