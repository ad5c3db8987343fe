"""Which reward functions are called when, and with what.

A reward function has TRL's shape: `reward(prompts, completions, **columns) -> list of float or None`, one value a
response, whole groups one after the other. Columns are those of the prompts, `kind`, `completion_ids` (without the end
token) and `ended` (whether the response ended by itself). A function that names one of these parameters gets it too:

- `entropies`, `log_probs`: of the policy, one float32 tensor a response with a value for each of its tokens, its end
  token included. They come from the training's own forward pass, so such a reward is computed there, a device batch of
  whole groups at a time.
- `reference`: the reference model, in evaluation mode.

`encore.rewards.score` checks every value: what is missing or no number is refused with the reward's name, or marks its
response as dropped; it is never averaged away. A function that returns another number of values, or fails on all
responses, ends the training in both cases.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from encore import rewards
from encore.errors import UserError

RewardFunction = Callable[..., Sequence[float | None]]
FROM_FORWARD = ("entropies", "log_probs")


class Rewards:
    """The rewards of a training, by name.

    Args:
        functions: in the order of the rewards.
        bad: `refuse`: UserError for a value that is None, NaN or infinite; `drop`: it becomes NaN, which marks the
            response as dropped.
        group_size: responses to one prompt.
    """

    def __init__(
        self, functions: Mapping[str, RewardFunction], bad: Literal["refuse", "drop"], group_size: int
    ) -> None:
        if not functions:
            raise UserError("there is no reward to learn from: name at least one")
        self.names = tuple(functions)
        self.bad, self.group_size = bad, group_size
        self._functions = {name: _Named(name, function) for name, function in functions.items()}
        self._parameters = {name: set(inspect.signature(function).parameters) for name, function in functions.items()}
        self.deferred = tuple(name for name in self.names if self._parameters[name] & set(FROM_FORWARD))
        self.with_reference = tuple(name for name in self.names if "reference" in self._parameters[name])

    def score(
        self,
        names: Sequence[str],
        prompts: Sequence[str],
        completions: Sequence[str],
        columns: Mapping[str, list[Any]],
        extra: Mapping[str, Any],
    ) -> Float[Tensor, "batch K"]:
        """Values of the rewards `names`; NaN in the columns of the others, and where a response is to be dropped.

        `extra` goes to the functions that name its parts. Raises UserError as the module says.
        """
        result = torch.full((len(completions), len(self.names)), math.nan)
        for place, name in enumerate(self.names):
            if name in names:
                wanted = {key: value for key, value in extra.items() if key in self._parameters[name]}
                result[:, place] = rewards.score(
                    [self._functions[name]],
                    prompts,
                    completions,
                    {**columns, **wanted},
                    invalid=self.bad,
                    group_size=self.group_size,
                )[:, 0]
        return result


class _Named:
    """A reward function under the name that it has in this training."""

    def __init__(self, name: str, function: RewardFunction) -> None:
        self.__name__, self._function = name, function

    def __call__(self, **given: Any) -> Sequence[float | None]:
        return self._function(**given)
