"""A client of vLLM's OpenAI-style server: prompts and answers are token ids, answers carry log-probabilities.

`POST /v1/completions` takes a list of token ids as prompt. The ids of an answer come as `token_ids`, which vLLM adds to
a choice for `return_token_ids` (0.10.2 and later), else as strings "token_id:123" in `logprobs.tokens`, which it gives
for `return_tokens_as_token_ids`. What the server's `generation_config` would set is set in each request.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import requests

from encore.errors import UserError

PREFIX = "token_id:"


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, and when an answer ends."""

    temperature: float  # 0: greedy
    max_tokens: int
    end_id: int  # the one token that ends an answer, itself included


@dataclass(frozen=True)
class Completion:
    """An answer: its tokens, with the end token if there is one, and their natural log-probabilities."""

    token_ids: list[int]
    logprobs: list[float]

    @staticmethod
    def checked(
        token_ids: list[int], logprobs: list[float], sampling: Sampling, finish: object, who: str
    ) -> Completion:
        """Raises UserError for an answer that was cut or ended by something that a session does not know of."""
        if len(token_ids) != len(logprobs):
            raise UserError(
                f"{who} gave {len(token_ids)} tokens and {len(logprobs)} log-probabilities for one answer: training "
                "needs one for each token; use vLLM 0.10.2 or later"
            )
        whole = token_ids[-1:] == [sampling.end_id] or len(token_ids) == sampling.max_tokens
        if not whole or len(token_ids) > sampling.max_tokens:
            raise UserError(
                f"{who} ended an answer after {len(token_ids)} of at most {sampling.max_tokens} tokens without the "
                f"chat format's end token {sampling.end_id} (finish_reason {finish!r}): it must stop there alone "
                "(stop_token_ids, ignore_eos) and its max_model_len must hold the episode"
            )
        return Completion(token_ids, logprobs)


@dataclass
class CompletionsServer:
    """A server of one model, asked by many threads at once.

    Connection errors, timeouts and answers 408, 429 and 5xx are tried again, `retries` times, after `backoff_s` seconds
    and twice as long each time (at most 10). All else, and the last try, raises UserError.
    """

    url: str  # for example http://localhost:8000
    model: str | None = None  # a name that it serves; None: the only one
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 300.0
    retries: int = 5
    backoff_s: float = 0.5
    connections: int = 64  # open requests at a time

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/").removesuffix("/v1")
        self._http = requests.Session()
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=self.connections))
        if self.api_key is not None:
            self._http.headers["Authorization"] = f"Bearer {self.api_key}"

    def served(self) -> tuple[str, int | None]:
        """The model's name, and the longest sequence that the server takes, in tokens, if it says so."""
        answer = self._ask("GET", "/v1/models", None, threading.Event())
        cards = answer.get("data")
        if not isinstance(cards, list) or not all(isinstance(card, dict) and "id" in card for card in cards):
            raise UserError(f"{self.url} lists no models at /v1/models: give the address of an OpenAI-style server")
        names = [card["id"] for card in cards]
        if self.model is None and len(names) != 1:
            raise UserError(f"the server at {self.url} serves {', '.join(names) or 'nothing'}: name one as the model")
        if self.model is not None and self.model not in names:
            raise UserError(
                f"the server at {self.url} does not serve '{self.model}': choose from {', '.join(names) or 'nothing'}, "
                f"or start it with `vllm serve {self.model}`"
            )
        card = cards[0 if self.model is None else names.index(self.model)]
        return str(card["id"]), card.get("max_model_len")

    def complete(
        self, model: str, prompt_ids: list[int], seed: int, sampling: Sampling, given_up: threading.Event
    ) -> Completion:
        """One answer; waits between tries end at once when `given_up` is set."""
        choice = self._choice(model, prompt_ids, seed, sampling, 1, given_up)
        logprobs = choice["logprobs"]
        token_ids = choice.get("token_ids")
        if token_ids is None:
            names = logprobs.get("tokens") or []
            if not all(isinstance(name, str) and name.startswith(PREFIX) for name in names):
                raise UserError(
                    f"the server at {self.url} names tokens as text ({names[0]!r}): training needs their ids, which "
                    "vLLM gives for return_token_ids or return_tokens_as_token_ids"
                )
            token_ids = [int(name.removeprefix(PREFIX)) for name in names]
        if choice.get("prompt_token_ids") not in (None, prompt_ids):
            raise UserError(f"the server at {self.url} changes prompts: it must take token ids as they are")
        return Completion.checked(
            token_ids, logprobs["token_logprobs"], sampling, choice.get("finish_reason"), f"the server at {self.url}"
        )

    def check_temperature(self, model: str, prompt_ids: list[int], temperature: float) -> None:
        """Raises UserError if the server's log-probabilities are those before the temperature, vLLM's default.

        Gaps between the likeliest tokens are `1 / temperature` times those at temperature 1 if they are not. A greedy
        answer's are always those of temperature 1.
        """

        def gap(temperature: float) -> float:
            choice = self._choice(model, prompt_ids, 0, Sampling(temperature, 1, -1), 5, threading.Event())
            top = sorted((choice["logprobs"].get("top_logprobs") or [{}])[0].values(), reverse=True)[:5]
            if len(top) < 2:
                raise UserError(f"the server at {self.url} gives no top_logprobs: use vLLM, or temperature 0 or 1")
            return float(top[0] - top[-1])

        plain, scaled = gap(0.0), gap(temperature)
        if abs(scaled - plain) < abs(scaled - plain / temperature):
            raise UserError(
                f"the server at {self.url} gives log-probabilities before the temperature {temperature:g}: start it "
                "with --logprobs-mode processed_logprobs, or sample at temperature 1"
            )

    def _choice(
        self, model: str, prompt_ids: list[int], seed: int, sampling: Sampling, top: int, given_up: threading.Event
    ) -> dict[str, Any]:
        """The choice of an answer, with log-probabilities of the `top` likeliest tokens and the chosen one."""
        body = {
            "model": model,
            "prompt": prompt_ids,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": seed,
            "stop_token_ids": [sampling.end_id] if sampling.end_id >= 0 else [],
            "ignore_eos": True,  # the chat format's end token ends an answer, as in every other backend
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": top,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }
        answer = self._ask("POST", "/v1/completions", body, given_up)
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices:
            raise UserError(f"the server at {self.url} gave an answer without choices: it is no OpenAI-style server")
        logprobs = choices[0].get("logprobs") or {}
        values = logprobs.get("token_logprobs")
        if values is None or any(value is None for value in values):
            raise UserError(
                f"the server at {self.url} gave an answer without log-probabilities, which training needs: use a "
                "server that honours `logprobs` in /v1/completions, as `vllm serve` does"
            )
        return choices[0]

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, given_up: threading.Event) -> dict[str, Any]:
        for attempt in range(self.retries + 1):
            try:
                answer = self._http.request(method, self.url + path, json=body, timeout=self.timeout_s)
                trouble = self._trouble(answer)
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                trouble = f"cannot be reached ({type(error).__name__}): start it, or correct its address"
            except requests.exceptions.RequestException as error:  # an address that is none
                raise UserError(
                    f"{self.url} cannot be asked ({error}): give an address like http://host:8000"
                ) from error
            if trouble is None:
                return self._json(answer)
            if attempt == self.retries or given_up.wait(min(self.backoff_s * 2**attempt, 10.0)):
                break
        raise UserError(f"the server at {self.url} was tried {attempt + 1} times and {trouble}")

    def _trouble(self, answer: requests.Response) -> str | None:
        """What may pass, None without trouble. Raises UserError for what will not."""
        status = answer.status_code
        if status < 400:
            return None
        said = _message(answer)
        if status in (408, 429) or status >= 500:
            return f"answers {status} ({said}): its log says why"
        if status in (401, 403):
            raise UserError(f"the server at {self.url} refuses the key ({status}): give its api_key")
        raise UserError(f"the server at {self.url} refuses a request ({status}): {said}")

    def _json(self, answer: requests.Response) -> dict[str, Any]:
        try:
            content = answer.json()
        except requests.exceptions.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            raise UserError(f"{self.url} answers with something else than JSON: give an OpenAI-style server's address")
        return content


def _message(answer: requests.Response) -> str:
    """What an error says, on one line."""
    try:
        content = answer.json()
        error = content.get("error", content)
        said = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    except (requests.exceptions.JSONDecodeError, AttributeError):
        said = answer.text
    return " ".join(said.split())[:300] or str(answer.reason)
