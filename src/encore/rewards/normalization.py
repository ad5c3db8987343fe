"""One reward's values made comparable within the group of responses to a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encore.errors import UserError

HOW = ("raw", "rank", "zscore")
FLAT = 1e-9  # a group whose values differ by less, relative to the greatest, is constant up to rounding


def normalize(
    values: Float[Tensor, " batch"] | Sequence[float | None],
    group_size: int,
    how: Literal["raw", "rank", "zscore"] | str = "rank",
) -> Float[Tensor, " batch"]:
    """Values by group of `group_size` neighbours, float32, on the values' device.

    - `raw`: as they are.
    - `rank`: the average rank, from 0 for the least to 1 for the greatest: (rank - 1) / (n - 1). Equal values share the
      mean of their ranks, so a constant group is 0.5 throughout, and so is a value that is alone.
    - `zscore`: (value - mean) / standard deviation, that of a sample (n - 1). A constant group, or a value that is
      alone, is 0.

    None, NaN and infinite values are invalid: they stay NaN, to be excluded by the caller, and n, ranks, mean and
    deviation are those of the group's other values. Source: rank normalisation to [0, 1] within each GRPO group,
    arXiv 2601.07208, appendix C.4, which gives no rule for ties and invalid values; both rules here are ours.

    Raises UserError for another `how`, and for a batch that is no whole number of groups.
    """
    if how not in HOW:
        raise UserError(f"reward normalisation is {how!r}: choose from {', '.join(HOW)}")
    given = _tensor(values)
    if group_size < 1 or len(given) % group_size:
        raise UserError(
            f"{len(given)} rewards are no whole number of groups of {group_size}: responses to a prompt come together"
        )
    grouped = given.double().view(-1, group_size)
    valid = torch.isfinite(grouped)
    if how == "rank":
        result = _ranks(grouped, valid)
    elif how == "zscore":
        result = _standardized(grouped, valid)
    else:
        result = grouped
    return torch.where(valid, result, torch.nan).flatten().float()


def _tensor(values: Tensor | Sequence[float | None]) -> Float[Tensor, " batch"]:
    if isinstance(values, Tensor):
        return values.detach().flatten()
    return torch.tensor([torch.nan if value is None else float(value) for value in values], dtype=torch.float64)


def _ranks(values: Float[Tensor, "groups size"], valid: Bool[Tensor, "groups size"]) -> Float[Tensor, "groups size"]:
    one, other = values[:, :, None], values[:, None, :]
    others = valid[:, None, :]
    below = ((other < one) & others).sum(-1)
    equal = ((other == one) & others).sum(-1)  # itself included
    number = valid.sum(-1, keepdim=True)
    ranks = below + (equal - 1) / 2
    return torch.where(number > 1, ranks / (number - 1).clamp(min=1), 0.5)


def _standardized(
    values: Float[Tensor, "groups size"], valid: Bool[Tensor, "groups size"]
) -> Float[Tensor, "groups size"]:
    number = valid.sum(-1, keepdim=True)
    values = torch.where(valid, values, 0.0)
    centred = torch.where(valid, values - values.sum(-1, keepdim=True) / number.clamp(min=1), 0.0)
    deviation = (centred.square().sum(-1, keepdim=True) / (number - 1).clamp(min=1)).sqrt()
    spread = centred.amax(-1, keepdim=True) - centred.amin(-1, keepdim=True)
    flat = spread <= FLAT * values.abs().amax(-1, keepdim=True)
    return torch.where(flat, 0.0, centred / torch.where(flat, 1.0, deviation))
