"""What a reward model thinks of the response: any sequence classifier with one label, by folder or hub id.

MAESTRO (arXiv 2601.07208) uses one "such as Skywork-Reward" without naming a checkpoint. Without a network, one can be
trained on preference pairs: `encore.rewards.train_preference_model`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch

from encore.errors import UserError
from encore.policy import DTYPES
from encore.rewards.context import Context
from encore.rewards.reward_model import RewardModel
from encore.rewards.texts import parts_of, text_of


@dataclass(frozen=True)
class Settings:
    """`model` is a folder or a hub id. `part`: `answer` shows the model the inside of the answer's tags, and the whole
    response where it has not the form; `completion` always all of it. `scale`: the model's number as it is (`raw`), or
    its `sigmoid`. `device` is auto, cpu or cuda. `max_batch_tokens` bounds a forward pass, padding included.
    """

    model: str = ""
    part: Literal["answer", "completion"] = "answer"
    scale: Literal["raw", "sigmoid"] = "raw"
    device: str = "auto"
    dtype: str = "float32"
    max_batch_tokens: int = 8192

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"rewards.preference.dtype is '{self.dtype}': choose from {', '.join(DTYPES)}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise UserError(f"rewards.preference.device is '{self.device}': say auto, cpu or cuda")
        if self.max_batch_tokens < 1:
            raise UserError(f"rewards.preference.max_batch_tokens is {self.max_batch_tokens}: it must be at least 1")


class Reward:
    name = __name__ = "preference"
    label = "Preference"

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings
        self._model: RewardModel | None = None

    def skip(self) -> str | None:
        if not self.settings.model:
            return "needs a reward model: set rewards.preference.model to a folder or a hub id"
        return None

    @property
    def model(self) -> RewardModel:
        """Loaded at first use. Raises UserError as `RewardModel.load`."""
        if self._model is None:
            device = self.settings.device
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            self._model = RewardModel.load(self.settings.model, device=torch.device(device), dtype=self.settings.dtype)
        return self._model

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        """The model's number; None where prompt and response are longer than its context."""
        encoded = [
            self.model.encode(prompt, self._shown(completion))
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        found = self.model.scores(encoded, max_batch_tokens=self.settings.max_batch_tokens)
        if self.settings.scale == "raw":
            return found
        return [None if value is None else 1 / (1 + math.exp(-max(-700.0, value))) for value in found]

    def _shown(self, completion: Any) -> str:
        parts = parts_of(completion) if self.settings.part == "answer" else None
        return text_of(completion) if parts is None else parts.answer
