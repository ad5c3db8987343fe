"""1 for a response that is `<think>..</think><answer>..</answer>` and nothing else, white space aside; else 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from encore.rewards.context import Context
from encore.rewards.texts import parts_of


@dataclass(frozen=True)
class Settings:
    """`allow_empty`: whether tags around nothing are valid; they are in NOVER's code."""

    allow_empty: bool = True


class Reward:
    name = __name__ = "format"
    label = "Format"

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings

    def skip(self) -> str | None:
        return None

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        return [float(self._valid(completion)) for completion in completions]

    def _valid(self, completion: Any) -> bool:
        parts = parts_of(completion)
        return parts is not None and (self.settings.allow_empty or bool(parts.thought and parts.answer))
