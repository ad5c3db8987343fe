"""The vLLM backends: a server that others may share, or an engine in this process.

vLLM keeps prefixes itself, so a whole prompt is sent each turn and only its new part is computed. Draws are seeded by
request; vLLM's own arithmetic may depend on the batch in the last digits, unless it runs batch-invariant.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from encore.chat import ChatFormat
from encore.errors import UserError
from encore.rollout.completions import Completion, CompletionsServer, Sampling
from encore.rollout.policy import Request, Response, Session


class Backend(Protocol):
    """What generates: `CompletionsBackend` or `EngineBackend`."""

    def context(self) -> int | None:
        """The longest sequence in tokens that it takes; None if it does not say."""

    def open(self, rows: int, sampling: Sampling, example_ids: list[int]) -> Opened:
        """Ready for at most `rows` requests at a time; `example_ids` are some prompt, to try it with."""


class Opened(Session, Protocol):
    """A session that has to be closed."""

    def close(self) -> None:
        """Gives up what is still open."""


@dataclass(frozen=True)
class VLLMPolicy:
    """A model in vLLM: `VLLMPolicy.server("http://localhost:8000", chat)` or `VLLMPolicy.colocated("model", chat)`."""

    backend: Backend
    chat: ChatFormat

    @classmethod
    def server(cls, url: str, chat: ChatFormat, model: str | None = None, **settings: Any) -> VLLMPolicy:
        """The server at `url`; `settings` are those of `CompletionsServer`, as `timeout_s` and `retries`.

        Raises UserError if it cannot be reached or does not serve `model` (None: the only one that it serves).
        """
        return cls(CompletionsBackend(CompletionsServer(url, model, **settings)), chat)

    @classmethod
    def colocated(cls, model: str, chat: ChatFormat, **settings: Any) -> VLLMPolicy:
        """A `vllm.LLM` in this process; `settings` are its own, as `gpu_memory_utilization`.

        Raises UserError if vLLM is not installed.
        """
        return cls(EngineBackend(model, settings), chat)

    @contextmanager
    def session(self, rows: int, *, max_length: int, max_action_tokens: int, temperature: float) -> Iterator[Session]:
        context = self.backend.context()
        if context is not None and max_length > context:
            raise UserError(
                f"max_length is {max_length}, and vLLM serves this model with {context} tokens: lower it, or raise "
                "vLLM's max_model_len"
            )
        sampling = Sampling(temperature, max_action_tokens, self.chat.end_id)
        session = self.backend.open(rows, sampling, self.chat.first("Where am I?"))
        try:
            yield session
        finally:
            session.close()


def _response(request: Request, completion: Completion, sampling: Sampling) -> Response:
    ended = completion.token_ids[-1] == sampling.end_id
    return Response(request.row, completion.token_ids, completion.logprobs, ended)


class CompletionsBackend:
    """Implements `Backend` over a server."""

    def __init__(self, server: CompletionsServer) -> None:
        self.server = server
        self.model, self._context = server.served()

    def context(self) -> int | None:
        return self._context

    def open(self, rows: int, sampling: Sampling, example_ids: list[int]) -> CompletionsSession:
        if sampling.temperature not in (0.0, 1.0):
            self.server.check_temperature(self.model, example_ids, sampling.temperature)
        return CompletionsSession(self.server, self.model, rows, sampling)


class CompletionsSession:
    """Each open request is a thread that waits for the server, which makes batches of them."""

    def __init__(self, server: CompletionsServer, model: str, rows: int, sampling: Sampling) -> None:
        self.server, self.model, self.sampling = server, model, sampling
        self._threads = futures.ThreadPoolExecutor(max(1, min(rows, server.connections)), "completions")
        self._open: set[futures.Future[Response]] = set()
        self._given_up = threading.Event()

    def submit(self, requests: Iterable[Request]) -> None:
        self._open |= {self._threads.submit(self._complete, request) for request in requests}

    def poll(self) -> list[Response]:
        if not self._open:
            return []
        done, self._open = futures.wait(self._open, return_when=futures.FIRST_COMPLETED)
        return sorted((future.result() for future in done), key=lambda response: response.row)

    def release(self, row: int) -> None:
        pass  # the server forgets prefixes when it needs the room

    def close(self) -> None:
        self._given_up.set()
        self._threads.shutdown(cancel_futures=True)

    def _complete(self, request: Request) -> Response:
        completion = self.server.complete(self.model, request.prompt_ids, request.seed, self.sampling, self._given_up)
        return _response(request, completion, self.sampling)


class EngineBackend:
    """Implements `Backend` over a `vllm.LLM`, whose engine is stepped here, so that a row is asked again at once."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        try:
            import vllm
        except ImportError as error:
            raise UserError(
                "vLLM is not installed: pip install vllm, or use a server of another environment (VLLMPolicy.server)"
            ) from error
        self.vllm: Any = vllm
        # Log-probabilities are wanted at the temperature, and no defaults of the model's generation_config.json.
        fixed = {"logprobs_mode": "processed_logprobs", "generation_config": "vllm"}
        self.llm: Any = vllm.LLM(model=model, **{"enable_prefix_caching": True, **settings, **fixed})

    def context(self) -> int | None:
        return int(self.llm.llm_engine.model_config.max_model_len)

    def open(self, rows: int, sampling: Sampling, example_ids: list[int]) -> EngineSession:
        return EngineSession(self.vllm, self.llm.llm_engine, sampling)


class EngineSession:
    """Requests in vLLM's engine, by a name of each."""

    def __init__(self, vllm: Any, engine: Any, sampling: Sampling) -> None:
        self.vllm, self.engine, self.sampling = vllm, engine, sampling
        self._numbers = itertools.count()
        self._open: dict[str, Request] = {}

    def submit(self, requests: Iterable[Request]) -> None:
        for request in requests:
            name = f"{id(self)}-{next(self._numbers)}"
            parameters = self.vllm.SamplingParams(
                temperature=self.sampling.temperature,
                max_tokens=self.sampling.max_tokens,
                seed=request.seed,
                stop_token_ids=[self.sampling.end_id],
                ignore_eos=True,
                logprobs=1,
                detokenize=False,
                output_kind=self.vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
            )
            self.engine.add_request(name, {"prompt_token_ids": request.prompt_ids}, parameters)
            self._open[name] = request

    def poll(self) -> list[Response]:
        answered: list[Response] = []
        while self._open and not answered:
            for output in self.engine.step():
                if output.finished and output.request_id in self._open:
                    answered.append(self._response(self._open.pop(output.request_id), output.outputs[0]))
        return answered

    def release(self, row: int) -> None:
        pass  # as above

    def close(self) -> None:
        if self._open:
            self.engine.abort_request(list(self._open))
            self._open = {}

    def _response(self, request: Request, output: Any) -> Response:
        token_ids = list(output.token_ids)
        logprobs = [step[token].logprob for token, step in zip(token_ids, output.logprobs, strict=True)]
        completion = Completion.checked(token_ids, logprobs, self.sampling, output.finish_reason, "vLLM")
        return _response(request, completion, self.sampling)
