"""Votes from an OpenAI-compatible chat endpoint: many at a time, each kept on disk as soon as it is there."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.errors import UserError
from encore.evaluation.judge_cache import AnswerCache
from encore.evaluation.judge_prompts import Template
from encore.evaluation.judge_settings import JudgeSettings
from encore.rollout.completions import CompletionsServer


@dataclass(frozen=True)
class Ballot:
    """One vote to be cast: a prompt, and its number among the votes on the same question."""

    template: Template
    fields: Mapping[str, str]
    vote: int = 0
    accept: Callable[[str], bool] | None = None
    """Says no to a verdict that has the form and makes no sense; None: every verdict of the template's form will do."""


@dataclass
class Counts:
    """Of one `Voters`: what was asked, and what came of it."""

    requests: int = 0
    cached: int = 0
    nonsense: int = 0
    undecided: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _ChatServer(CompletionsServer):
    """The server that rollouts ask, with its retries and its errors, asked for chat answers."""

    def chat(self, path: str, body: dict[str, Any], given_up: threading.Event) -> dict[str, Any]:
        answer = self._ask("POST", path, body, given_up)
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise UserError(f"{self.url}{path} gave an answer without choices: give a chat completions endpoint")
        return answer


class Voters:
    """Asks `settings.model`, and remembers its answers in the file `cache` (None: in memory).

    Raises UserError without a judge in the settings, or without its key.
    """

    def __init__(self, settings: JudgeSettings, cache: Path | None) -> None:
        missing = settings.missing()
        if missing is not None:
            raise UserError(f"a judge {missing}")
        self.settings = settings
        self.cache = AnswerCache(cache)
        self.counts = Counts()
        self._counting = threading.Lock()
        self._server = _ChatServer(
            settings.url,
            settings.model,
            settings.api_key,
            settings.timeout_s,
            settings.retries,
            settings.backoff_s,
            settings.concurrency,
        )

    def cast(self, ballots: Sequence[Ballot]) -> list[str | None]:
        """The verdict of each ballot, None where the judge gave none however often it was asked.

        Equal ballots are asked once. Raises UserError as soon as the endpoint is given up; what it has answered until
        then is in the cache, and a second call asks for the rest alone.
        """
        prompts = [ballot.template.fill(ballot.fields) for ballot in ballots]
        keys = [self._key(ballot, prompt, 0) for ballot, prompt in zip(ballots, prompts, strict=True)]
        jobs = {key: (ballot, prompt) for key, ballot, prompt in zip(keys, ballots, prompts, strict=True)}
        given_up = threading.Event()
        failures: list[Exception] = []

        def work(ballot: Ballot, prompt: str) -> str | None:
            try:
                return self._verdict(ballot, prompt, given_up)
            except Exception as error:
                failures.append(error)
                given_up.set()  # here and not where results are waited for: the next job must not begin
                raise

        with ThreadPoolExecutor(min(self.settings.concurrency, max(1, len(jobs)))) as pool:
            waiting = {key: pool.submit(work, *job) for key, job in jobs.items()}
            try:
                verdicts = {key: future.result() for key, future in waiting.items()}
            except BaseException as error:
                given_up.set()
                pool.shutdown(cancel_futures=True)
                first = failures[0] if failures and isinstance(error, Exception) else error
                if isinstance(first, UserError) and self.cache.path is not None:
                    raise UserError(
                        f"{first}; {len(self.cache)} answers of judges are kept in {self.cache.path}, and a new start "
                        "asks for the rest"
                    ) from first
                raise first from None
        self.counts.undecided += sum(verdict is None for verdict in verdicts.values())
        return [verdicts[key] for key in keys]

    def _verdict(self, ballot: Ballot, prompt: str, given_up: threading.Event) -> str | None:
        for attempt in range(self.settings.reasks + 1):
            if given_up.is_set():
                raise UserError("the judge is not asked any more")
            key = self._key(ballot, prompt, attempt)
            record = self.cache.get(key)
            asked = record is None
            if record is None:
                record = self._ask(ballot, prompt, attempt, given_up)
                self.cache.add(key, record)
            verdict = ballot.template.read(record["answer"])
            sound = verdict is not None and (ballot.accept is None or ballot.accept(verdict))
            with self._counting:
                self.counts.requests += asked
                self.counts.cached += not asked
                self.counts.nonsense += not sound
                if asked:
                    self.counts.prompt_tokens += record["prompt_tokens"]
                    self.counts.completion_tokens += record["completion_tokens"]
            if sound:
                return verdict
        return None

    def _ask(self, ballot: Ballot, prompt: str, attempt: int, given_up: threading.Event) -> dict[str, Any]:
        body = {"model": self.settings.model, "messages": [{"role": "user", "content": prompt}], **self._drawing()}
        if self.settings.send_seed:
            body["seed"] = self._seed(ballot.vote, attempt)
        answer = self._server.chat(self.settings.path, body, given_up)
        # An answer that was cut while thinking, or refused by a filter, has no text: it is nonsense, not a failure.
        text = (answer["choices"][0].get("message") or {}).get("content")
        usage = answer.get("usage") or {}
        return {
            "model": self.settings.model,
            "template": ballot.template.name,
            "template_sha256": ballot.template.sha256,
            "vote": ballot.vote,
            "attempt": attempt,
            "answer": text if isinstance(text, str) else "",
            "verdict": ballot.template.read(text) if isinstance(text, str) else None,
            "finish_reason": answer["choices"][0].get("finish_reason"),
            "prompt_tokens": int(usage.get("prompt_tokens") or 0),
            "completion_tokens": int(usage.get("completion_tokens") or 0),
        }

    def _drawing(self) -> dict[str, Any]:
        return {"temperature": self.settings.temperature, "max_tokens": self.settings.max_tokens}

    def _seed(self, vote: int, attempt: int) -> int:
        said = f"{self.settings.seed} {vote} {attempt}".encode()
        return int.from_bytes(hashlib.sha256(said).digest()[:4], "big") >> 1  # endpoints take 31 bits at least

    def _key(self, ballot: Ballot, prompt: str, attempt: int) -> str:
        """Of all that an answer depends on; not of the address, which may move."""
        asked = [self.settings.model, prompt, ballot.vote, attempt, self.settings.seed, self._drawing()]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
