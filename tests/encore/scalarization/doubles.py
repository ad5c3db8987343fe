"""A slow normalisation, written out: what the scalarizers' tests need of one."""

from __future__ import annotations

import torch


def normalize(values: torch.Tensor, group_size: int, how: str) -> torch.Tensor:
    result = []
    for group in values.double().view(-1, group_size).tolist():
        if how == "raw":
            result += group
        elif how == "rank":
            below = [sum(other < value for other in group) for value in group]
            equal = [sum(other == value for other in group) for value in group]
            places = [low + (same - 1) / 2 for low, same in zip(below, equal, strict=True)]
            result += [place / (len(group) - 1) if len(group) > 1 else 0.5 for place in places]
        elif how == "zscore":
            of_group = torch.tensor(group)
            spread = float(of_group.std()) if len(group) > 1 else 0.0
            result += [0.0 if spread == 0 else (value - float(of_group.mean())) / spread for value in group]
        else:
            raise AssertionError(how)
    return torch.tensor(result, dtype=torch.float32)
