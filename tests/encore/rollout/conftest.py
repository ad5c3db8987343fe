"""A small untrained model whose greedy choices are far from ties, and a policy that says what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
import torch

from encore.chat import ChatFormat, chat_format
from encore.models import tiny_llama
from encore.rollout import Request, Response
from experiments.base.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def chat() -> ChatFormat:
    texts = ["You are in the kitchen. There is a door. go north 123", "heard 12 letters."] * 20
    return chat_format(train_tokenizer(texts, 320, 2048))


@pytest.fixture(scope="module")
def model(chat):
    torch.manual_seed(3)
    special = {"pad_token_id": chat.tokenizer.pad_token_id, "eos_token_id": chat.tokenizer.eos_token_id}
    # Large weights, so that greedy choices of the untrained model are far from ties.
    model = tiny_llama(len(chat.tokenizer), layers=2, width=64, heads=4, context=2048, **special).double()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(6)
    return model.eval()


class Scripted:
    """A policy that answers a row's turns with given texts in turn, the last one for ever."""

    def __init__(self, chat: ChatFormat, answers: list[str]) -> None:
        self.chat, self.answers = chat, answers
        self.turns: dict[int, int] = {}
        self.requests: list[Request] = []
        self.open: list[Request] = []

    @contextmanager
    def session(self, rows: int, **settings: object) -> Iterator[Scripted]:
        yield self

    def submit(self, requests: Iterable[Request]) -> None:
        self.open += requests

    def poll(self) -> list[Response]:
        responses = []
        for request in self.open:
            turn = self.turns[request.row] = self.turns.get(request.row, -1) + 1
            tokens = self.chat.action(self.answers[min(turn, len(self.answers) - 1)])
            responses.append(Response(request.row, tokens, [-0.5] * len(tokens), ended=True))
        self.requests += self.open
        self.open = []
        return responses

    def release(self, row: int) -> None:
        pass


@pytest.fixture
def scripted(chat) -> Callable[..., Scripted]:
    """`scripted("go north", "look")` gives a policy that says these."""
    return lambda *answers: Scripted(chat, list(answers))
