"""Which judge to ask and how, as a section of params.yaml."""

from __future__ import annotations

import os
from dataclasses import dataclass

from encore.errors import UserError


@dataclass(frozen=True)
class JudgeSettings:
    """A model behind an OpenAI-compatible chat endpoint, `url` + `path`.

    A vLLM server has the path as it stands; Gemini's compatible endpoint is `.../v1beta/openai` with the path
    `/chat/completions`. The key is read from the environment variable `api_key_variable` and is written nowhere. A
    connection that fails, a timeout, 408, 429 and 5xx are tried again `retries` times, after `backoff_s` seconds and
    twice as long each time, at most 10. An answer without a verdict is asked for again `reasks` times, then the vote
    is `undecided`. `concurrency` bounds the open requests. `send_seed`: some endpoints refuse a seed.

    From arXiv 2601.07208: three votes, and the judges Qwen3-235B-A22B and Gemini-2.5-Flash. Temperature and prompts
    are not in the paper.
    """

    url: str = ""
    model: str = ""
    path: str = "/v1/chat/completions"
    api_key_variable: str | None = None
    votes: int = 3
    temperature: float = 0.7
    max_tokens: int = 1024
    seed: int = 0
    send_seed: bool = True
    reasks: int = 2
    timeout_s: float = 120.0
    retries: int = 5
    backoff_s: float = 0.5
    concurrency: int = 8

    def __post_init__(self) -> None:
        if self.votes < 1 or self.votes % 2 == 0:
            raise UserError(f"judge.votes is {self.votes}: a majority needs an odd number of votes")
        for name in ("max_tokens", "concurrency"):
            if getattr(self, name) < 1:
                raise UserError(f"judge.{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("temperature", "reasks", "retries", "backoff_s", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"judge.{name} is {getattr(self, name)}: it must be at least 0")
        if self.timeout_s <= 0:
            raise UserError(f"judge.timeout_s is {self.timeout_s}: it must be positive")

    def missing(self) -> str | None:
        """Why nobody can be asked; None if somebody can. Asks nobody."""
        for name in ("url", "model"):
            if not getattr(self, name):
                return f"needs a judge: set judge.{name}"
        if self.api_key_variable and not os.environ.get(self.api_key_variable):
            return f"needs the judge's key: set the environment variable {self.api_key_variable}"
        return None

    @property
    def api_key(self) -> str | None:
        return os.environ[self.api_key_variable] if self.api_key_variable else None
