"""How an episode so far becomes the prompt of its next turn, and how an answer becomes an action."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from encore.chat import ChatFormat
from encore.errors import UserError

_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL)
_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)

TEMPLATE = """You act in a text world. Your task and your surroundings:
{task}

You have taken {steps} steps. The last {shown}, each with what you saw before it and what you did:
{history}

You are now at step {step}, and you see:
{observation}

Actions that are possible now:
{admissible}

Reason step by step between <think> and </think>. Then give exactly one of the possible actions between <action> and \
</action>."""

TEMPLATE_FIRST = """You act in a text world. Your task and your surroundings:
{task}

Actions that are possible now:
{admissible}

Reason step by step between <think> and </think>. Then give exactly one of the possible actions between <action> and \
</action>."""


class Prompt(Protocol):
    """A prompt format. `conversation`: a turn's prompt continues the last turn's prompt and response."""

    @property
    def conversation(self) -> bool: ...
    @property
    def parse_error_ends(self) -> bool: ...

    def context(
        self, chat: ChatFormat, observations: Sequence[str], actions: Sequence[str], admissible: Sequence[str]
    ) -> list[int]:
        """Tokens before the next response: of a conversation only those after the last response's end token."""

    def action(self, answer: str) -> str | None:
        """The action in an answer, or None if it has none."""


@dataclass(frozen=True)
class ChatTurns:
    """Observations are the user's messages, answers are actions as they stand; the conversation only grows."""

    conversation: bool = True
    parse_error_ends: bool = False

    def context(
        self, chat: ChatFormat, observations: Sequence[str], actions: Sequence[str], admissible: Sequence[str]
    ) -> list[int]:
        return chat.next(observations[-1]) if actions else chat.first(observations[-1])

    def action(self, answer: str) -> str | None:
        return answer.strip()


@dataclass(frozen=True)
class SingleTurn:
    """Every turn is a conversation of its own, as in verl-agent: task, the last `history` steps, what is possible now.

    A template may use {task} (the first observation), {steps}, {shown}, {history}, {step}, {observation} and
    {admissible}; `template_first` is that of the first turn. The answer is `<think>…</think><action>…</action>`; an
    answer without an action, or without its thoughts if `require_think`, is a parse error: an invalid action (the
    environment gets the empty one), or the episode's end if `parse_error_ends`.
    """

    history: int = 2
    template: str = TEMPLATE
    template_first: str = TEMPLATE_FIRST
    require_think: bool = False
    parse_error_ends: bool = False
    conversation: bool = False

    def __post_init__(self) -> None:
        if self.history < 0:
            raise UserError(f"the prompt's history is {self.history}: it is a number of steps, from 0")
        for name, text in [("template", self.template), ("template_first", self.template_first)]:
            try:
                self._render(text, ["o"], [], [])
            except (KeyError, IndexError, ValueError) as error:
                raise UserError(
                    f"the prompt's {name} cannot be filled in ({type(error).__name__}: {error}): it may use {{task}}, "
                    "{steps}, {shown}, {history}, {step}, {observation} and {admissible}; other braces are doubled"
                ) from error

    def context(
        self, chat: ChatFormat, observations: Sequence[str], actions: Sequence[str], admissible: Sequence[str]
    ) -> list[int]:
        text = self.template if actions else self.template_first
        return chat.first(self._render(text, observations, actions, admissible))

    def action(self, answer: str) -> str | None:
        found = _ACTION.search(answer)
        if found is None or (self.require_think and _THINK.search(answer) is None):
            return None
        return found.group(1).strip() or None

    def _render(self, text: str, observations: Sequence[str], actions: Sequence[str], admissible: Sequence[str]) -> str:
        shown = min(self.history, len(actions))
        lines = [
            f"[Observation {number + 1}: '{observations[number]}', Action {number + 1}: '{actions[number]}']"
            for number in range(len(actions) - shown, len(actions))
        ]
        return text.format(
            task=observations[0],
            steps=len(actions),
            shown=shown,
            history="\n".join(lines),
            step=len(actions) + 1,
            observation=observations[-1],
            admissible="\n".join(f"'{command}'" for command in admissible),
        )
