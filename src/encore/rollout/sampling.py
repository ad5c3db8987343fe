"""The next token of each row, drawn from its own numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError


def choose(
    logits: Float[Tensor, "rows vocabulary"], temperature: float, uniforms: Sequence[float]
) -> tuple[list[int], list[float]]:
    """Tokens and their log-probabilities at `temperature`; 0 is greedy, with log-probabilities at temperature 1.

    `uniforms` has one number in [0, 1) a row: a row's token depends on its own number and logits alone. It is the token
    in whose share of the cumulated probability the number falls. Raises UserError if a row's logits are no numbers.
    """
    logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    if temperature == 0:
        chosen = logits.argmax(dim=-1, keepdim=True)
    else:
        cumulated = logprobs.exp().cumsum(dim=-1, dtype=torch.float64)
        numbers = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None]
        chosen = torch.searchsorted(cumulated, numbers * cumulated[:, -1:], right=True)
        chosen = chosen.clamp(max=logits.shape[-1] - 1)
    values = logprobs.gather(1, chosen)[:, 0].tolist()
    if any(math.isnan(value) for value in values):  # one NaN in a row makes all its log-probabilities NaN
        raise UserError(
            "the policy's logits are not numbers: its training has diverged (lower the learning rate), or its weights "
            "need a wider type than policy.dtype"
        )
    return chosen[:, 0].tolist(), values
