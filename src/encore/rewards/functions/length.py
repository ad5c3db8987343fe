"""Shorter is better: 1 - min(1, L / L_max), with L the tokens of the response.

The formula of MAESTRO's length penalty (arXiv 2601.07208) is in an appendix that is not public; this is the reading
chosen here. NOVER's rule for length is the reward `efficiency`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from encore.errors import UserError
from encore.rewards.context import Context
from encore.rewards.texts import text_of


@dataclass(frozen=True)
class Settings:
    """`max_tokens` is L_max; longer responses get 0."""

    max_tokens: int = 256

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UserError(f"rewards.length.max_tokens is {self.max_tokens}: it must be at least 1")


class Reward:
    name = __name__ = "length"
    label = "Length"

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings, self.context = settings, context

    def skip(self) -> str | None:
        return None

    def __call__(
        self,
        prompts: list[Any],
        completions: list[Any],
        *,
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Lengths are those of `completion_ids`, which trainers pass, else of the text in the context's tokens."""
        if completion_ids is None:
            completion_ids = [self.context.content_ids(text_of(completion)) for completion in completions]
        return [1 - min(1.0, len(ids) / self.settings.max_tokens) for ids in completion_ids]
