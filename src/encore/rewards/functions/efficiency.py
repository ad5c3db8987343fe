"""Better and shorter than the others: NOVER's rule for length (arXiv 2505.16022, code, `efficiency_reward`).

Among the valid responses of a group, the share of the others that have both a longer thought and a higher conditional
perplexity (see the reward `perplexity`); 0 for invalid ones, and where a group has fewer than two valid ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from encore.errors import UserError
from encore.rewards.context import Context
from encore.rewards.functions import perplexity


@dataclass(frozen=True)
class Settings:
    """`perplexity`: how it is computed, in a forward pass of this reward's own."""

    perplexity: perplexity.Settings = field(default_factory=perplexity.Settings)


class Reward:
    name = __name__ = "efficiency"
    label = "Efficiency"

    def __init__(self, settings: Settings, context: Context) -> None:
        self.context = context
        self.perplexity = perplexity.Reward(settings.perplexity, context)

    def skip(self) -> str | None:
        if self.context.group_size is None:
            return "compares the responses to a prompt: give group_size in its context"
        return self.perplexity.skip()

    def __call__(
        self, prompts: list[Any], completions: list[Any], *, reference: Any = None, **columns: Any
    ) -> list[float | None]:
        """The share; None where perplexity has none, and such a response is not among the others."""
        size = self.context.group_size
        assert size is not None
        if len(completions) % size:
            raise UserError(f"reward efficiency got {len(completions)} responses, no whole number of groups of {size}")
        found = self.perplexity.conditional(prompts, completions, reference=reference, **columns)
        values: list[float | None] = [None if one is None else 0.0 for one in found]
        for start in range(0, len(found), size):
            valid = [
                (place, one)
                for place, one in enumerate(found[start : start + size], start)
                if one is not None and one.perplexity != float("inf")
            ]
            for place, one in valid:
                if len(valid) > 1:
                    beaten = sum(
                        other.thought_tokens > one.thought_tokens and other.perplexity > one.perplexity
                        for _, other in valid
                    )
                    values[place] = beaten / (len(valid) - 1)
        return values
