"""Calling reward functions, and what happens when one gives something else than a number for each response.

A reward function has TRL's shape: `reward(prompts, completions, **columns) -> list of float or None`, all lists as long
as the batch, complete groups one after the other. Columns are those of the prompts, `kind`, `completion_ids` (without
the end token) and `ended` (whether the response ended by itself). A function that names one of the following parameters
gets it too:

- `entropies`, `log_probs`: of the policy, one float32 tensor a response with a value for each of its tokens, its end
  token included. They come from the training's own forward pass, so such a reward is computed there, a device batch of
  whole groups at a time.
- `reference`: the reference model, in evaluation mode.

What is never done: a value that is missing or no number is not replaced and not averaged away. A function that raises,
or returns another number of values, ends the training: nothing says which response it is about.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError

RewardFunction = Callable[..., Sequence[float | None]]
FROM_FORWARD = ("entropies", "log_probs")
SHOWN = 60  # characters of a prompt in an error


class Rewards:
    """The rewards of a training, by name.

    Args:
        functions: in the order of the rewards.
        bad: `refuse`: UserError for a value that is None, NaN or infinite; `drop`: it becomes NaN, which marks the
            response as dropped.
    """

    def __init__(self, functions: Mapping[str, RewardFunction], bad: Literal["refuse", "drop"]) -> None:
        if not functions:
            raise UserError("there is no reward to learn from: name at least one")
        self.functions, self.bad = dict(functions), bad
        self.names = tuple(functions)
        named = {name: set(inspect.signature(function).parameters) for name, function in functions.items()}
        self.deferred = tuple(name for name in self.names if named[name] & set(FROM_FORWARD))
        self.with_reference = tuple(name for name in self.names if "reference" in named[name])
        self._named = named

    def score(
        self,
        names: Sequence[str],
        prompts: list[str],
        completions: list[str],
        columns: Mapping[str, list[Any]],
        extra: Mapping[str, Any],
    ) -> Float[Tensor, "batch K"]:
        """Values of the rewards `names`; NaN in the columns of the others, and where a response is to be dropped.

        `extra` goes to the functions that name its parts. Raises UserError as the module says.
        """
        result = torch.full((len(completions), len(self.names)), math.nan)
        for place, name in enumerate(self.names):
            if name in names:
                wanted = {key: value for key, value in extra.items() if key in self._named[name]}
                result[:, place] = self._call(name, prompts, completions, {**columns, **wanted})
        return result

    def _call(
        self, name: str, prompts: list[str], completions: list[str], columns: Mapping[str, Any]
    ) -> Float[Tensor, " batch"]:
        try:
            values = list(self.functions[name](prompts=list(prompts), completions=list(completions), **columns))
        except UserError:
            raise
        except Exception as error:
            said = " ".join(str(error).split()) or "no message"
            raise UserError(
                f"reward '{name}' failed ({type(error).__name__}: {said}): correct it, or leave it out of the rewards"
            ) from error
        if len(values) != len(completions):
            raise UserError(
                f"reward '{name}' returned {len(values)} values for {len(completions)} responses: it must return one "
                "for each, in their order"
            )
        checked = [self._checked(name, value, prompts[place]) for place, value in enumerate(values)]
        return torch.tensor(checked, dtype=torch.float32)

    def _checked(self, name: str, value: Any, prompt: str) -> float:
        number = math.nan if value is None else _as_float(name, value)
        if math.isfinite(number) and math.isfinite(float(torch.tensor(number, dtype=torch.float32))):
            return number
        if self.bad == "drop":
            return math.nan
        shown = " ".join(prompt.split())
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
        raise UserError(
            f"reward '{name}' gave {value} for a response to '{shown}': return a finite number for every response, or "
            "set rl.bad_rewards to drop"
        )


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"reward '{name}' returned {value!r}, which is no number: return a float or None") from error
