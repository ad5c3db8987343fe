"""What a training gives its rewards beside the responses: a tokenizer, models, the size of a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from encore.chat import ChatFormat
from encore.errors import UserError

Source = nn.Module | Callable[[], nn.Module]
"""A model, or a function that gives the one of the moment: a reference that follows the policy."""


@dataclass(frozen=True)
class Context:
    """Everything is optional; a reward that needs what is absent says so.

    Attributes:
        reference: causal model under which reference answers are scored, where the trainer passes none by step.
        policy: causal model that wrote the responses, where the trainer passes no entropies.
        tokenizer: of both.
        chat: puts a text prompt into the chat format. Without it, text prompts are tokenised as they are, as TRL does.
            Conversations always go through the tokenizer's chat template.
        group_size: responses to one prompt, which are neighbours.
        cache: folder for what is bought dearly (a judge's verdicts).
    """

    reference: Source | None = None
    policy: Source | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    chat: ChatFormat | None = None
    group_size: int | None = None
    cache: Path | None = None

    @property
    def tokens(self) -> PreTrainedTokenizerBase:
        """The tokenizer, the chat format's if it is not given alone. Raises UserError for none."""
        if self.tokenizer is not None:
            return self.tokenizer
        if self.chat is None:
            raise UserError("this reward counts tokens and was given no tokenizer: give one in its context")
        return self.chat.tokenizer

    @property
    def has_tokens(self) -> bool:
        return self.tokenizer is not None or self.chat is not None

    def content_ids(self, text: str) -> list[int]:
        """Tokens of text that is data: a special token spelled out in it becomes ordinary characters."""
        return self.tokens(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def prompt_ids(self, prompt: Any) -> list[int]:
        """Tokens up to the point where the policy speaks; a prompt is text or a list of messages."""
        if isinstance(prompt, str):
            return self.tokens(prompt)["input_ids"] if self.chat is None else self.chat.first(prompt)
        text = self.tokens.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        return self.tokens(str(text), add_special_tokens=False)["input_ids"]


def model_of(source: Any) -> nn.Module:
    """The model of the moment. Raises UserError for what is neither a model nor gives one."""
    found = source if isinstance(source, nn.Module) else source() if callable(source) else None
    if not isinstance(found, nn.Module):
        raise UserError(
            f"a reward was given {type(source).__name__} as its model: give a torch module, or a function of no "
            "argument that returns one"
        )
    return found
