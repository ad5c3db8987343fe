"""How a conversation becomes tokens, piece by piece.

A rollout keeps its attention cache between turns and may only append; training must see exactly the tokens that the
rollout saw. So a conversation is never rendered as a whole: its template is taken apart once into the four strings
that stand around contents, and each piece is tokenised alone, in training and in rollout alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from encore.errors import UserError

if TYPE_CHECKING:  # stages that only read or write trajectories do without transformers
    from transformers import PreTrainedTokenizerBase

_PROBES = ("\u2042first\u2042", "\u2042second\u2042", "\u2042third\u2042", "\u2042fourth\u2042")


@dataclass(frozen=True)
class ChatFormat:
    """The strings of a chat template around its contents.

    A conversation reads `opening + observation + to_action + action + end + to_observation + observation + to_action
    …`. `end` is the text of the token that closes an action: the policy must produce it, so it counts as response.
    """

    tokenizer: PreTrainedTokenizerBase
    opening: str
    to_action: str
    end: str
    to_observation: str

    @cached_property
    def end_id(self) -> int:
        """Id of the token that closes an action."""
        return int(self.tokenizer.convert_tokens_to_ids(self.end))  # type: ignore[arg-type]

    def first(self, observation: str) -> list[int]:
        """Tokens of the first observation, up to the point where the policy speaks."""
        return [*self._structure(self.opening), *self.content(observation), *self._to_action_ids]

    def next(self, observation: str) -> list[int]:
        """Tokens between an action's end token (not included) and the point where the policy speaks again."""
        return [*self._to_observation_ids, *self.content(observation), *self._to_action_ids]

    def action(self, text: str) -> list[int]:
        """Tokens of an action, its end token included."""
        return [*self.content(text), self.end_id]

    def content(self, text: str) -> list[int]:
        """Tokens of text that is data: a special token spelled out in it becomes ordinary characters."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    # What stands around every content is the same at every turn, and a tokenizer's call costs more than a short text.
    @cached_property
    def _to_action_ids(self) -> list[int]:
        return self._structure(self.to_action)

    @cached_property
    def _to_observation_ids(self) -> list[int]:
        return self._structure(self.to_observation)

    def _structure(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """Takes a tokenizer's chat template apart.

    Raises UserError if the tokenizer has no chat template, or one that renders later turns differently from earlier
    ones (then no cache could be kept between turns).
    """
    if not tokenizer.chat_template:
        raise UserError(
            f"tokenizer {tokenizer.name_or_path} has no chat template: use an instruction-tuned model, or set one"
        )
    one, two, three, four = _PROBES

    def render(contents: tuple[str, ...], prompt: bool) -> str:
        messages = [
            {"role": "user" if index % 2 == 0 else "assistant", "content": content}
            for index, content in enumerate(contents)
        ]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))

    opening, to_action = render((one,), True).split(one)
    full = render((one, two, three, four), False)
    closing = full.partition(four)[2]
    if all(content in full for content in _PROBES):
        end = _first_special(tokenizer, closing)
        to_observation = full.partition(two)[2].partition(three)[0].removeprefix(end)
        if full == opening + one + to_action + two + end + to_observation + three + to_action + four + closing:
            return ChatFormat(tokenizer, opening, to_action, end, to_observation)
    raise UserError(
        f"the chat template of {tokenizer.name_or_path} renders a turn differently when turns follow it: episodes of "
        "many turns need a template that only appends"
    )


def _first_special(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    for token in sorted(tokenizer.all_special_tokens, key=len, reverse=True):
        if text.startswith(token):
            return token
    if tokenizer.eos_token and text.startswith(tokenizer.eos_token):
        return tokenizer.eos_token
    raise UserError(
        f"the chat template of {tokenizer.name_or_path} closes an assistant's turn with {text[:20]!r}, which is no "
        "special token: a policy could not say that its action has ended"
    )
