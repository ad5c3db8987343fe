"""The interface between the episodes' loop and whatever generates text: this process, or a server.

A session is asked with whole prompts. What a backend keeps of a row's earlier prompts to save work is its own affair.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from encore.chat import ChatFormat


@dataclass(frozen=True)
class Request:
    """One turn that a policy shall answer. `row` names the episode; it has at most one open request."""

    row: int
    prompt_ids: list[int]
    seed: int  # of this turn's draws, which depend on nothing else


@dataclass(frozen=True)
class Response:
    """The answer to a row's request."""

    row: int
    token_ids: list[int]  # the end token included, if the policy ended its turn
    logprobs: list[float]
    ended: bool  # false: cut at max_action_tokens


class Session(Protocol):
    """Requests of many rows that are answered together."""

    def submit(self, requests: Iterable[Request]) -> None:
        """Takes requests in; they are answered by later calls of `poll`."""

    def poll(self) -> list[Response]:
        """Works until at least one open request is answered; every answer is given once. Empty if none is open."""

    def release(self, row: int) -> None:
        """The row's episode has ended: what was kept for it may go."""


class Policy(Protocol):
    """A model that answers, and the chat format that makes its prompts."""

    @property
    def chat(self) -> ChatFormat: ...

    def session(
        self, rows: int, *, max_length: int, max_action_tokens: int, temperature: float
    ) -> AbstractContextManager[Session]:
        """A session for at most `rows` rows at a time. `temperature` 0 is greedy."""
