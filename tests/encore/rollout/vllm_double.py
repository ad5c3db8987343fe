"""What the vLLM backends talk to, made of the tests' model: an OpenAI-style server, and a module `vllm`.

Answers have the form of vLLM 0.33 (vllm/entrypoints/openai/completion/protocol.py and serving.py, v1/engine).
"""

from __future__ import annotations

import json
import random
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from encore.rollout.sampling import choose


def generate(model, prompt: list[int], seed: int, temperature: float, max_tokens: int, stop: list[int], raw=False):
    """Tokens, log-probabilities, and the five likeliest tokens of each step: a new forward pass for every token."""
    draws, tokens, logprobs, tops = random.Random(seed), [], [], []
    while len(tokens) < max_tokens and (not tokens or tokens[-1] not in stop):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[:, -1]
        uniforms = [draws.random()] if temperature > 0 else []
        (token,), (logprob,) = choose(logits, temperature, uniforms)
        likely = torch.log_softmax(logits[0] / (1.0 if raw or not temperature else temperature), dim=-1)
        tokens.append(token)
        logprobs.append(float(likely[token]) if raw else logprob)
        tops.append(dict(zip(*[values.tolist() for values in likely.topk(5)][::-1], strict=True)))
    return tokens, logprobs, tops


@dataclass
class Behaviour:
    """What the server does with requests, and what it has seen."""

    model: Any
    failures: list[int] = field(default_factory=list)  # statuses of the next answers, in order
    dead_after: int | None = None  # completions, after which it answers no connection
    ids: str = "token_ids"  # or "strings", "text"
    logprobs: bool = True
    raw_logprobs: bool = False  # before the temperature: vLLM's default
    drops_end: bool = False
    key: str | None = None
    max_model_len: int | None = 2048
    asked: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    most_open: int = 0
    now_open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:  # one model
            tokens, logprobs, tops = generate(
                self.model,
                body["prompt"],
                body["seed"],
                body["temperature"],
                body["max_tokens"],
                body["stop_token_ids"],
                self.raw_logprobs,
            )
        finish = "stop" if tokens[-1] in body["stop_token_ids"] else "length"
        if self.drops_end and finish == "stop":
            tokens, logprobs, tops = tokens[:-1], logprobs[:-1], tops[:-1]

        def named(token: int) -> str:
            return "word" if self.ids == "text" else f"token_id:{token}"

        choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": finish, "logprobs": None}
        if self.logprobs:
            choice["logprobs"] = {
                "tokens": [named(token) for token in tokens],
                "token_logprobs": logprobs,
                "top_logprobs": [
                    {f"token_id:{token}": value for token, value in list(top.items())[: body["logprobs"]]}
                    for top in tops
                ],
            }
        if self.ids == "token_ids":
            choice |= {"token_ids": tokens, "prompt_token_ids": body["prompt"]}
        return {"object": "text_completion", "model": body["model"], "choices": [choice]}


@contextmanager
def served(behaviour: Behaviour) -> Iterator[str]:
    """A server on this machine; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def refused(self) -> bool:
            behaviour.connections += 1
            if behaviour.key is not None and self.headers["Authorization"] != f"Bearer {behaviour.key}":
                self.answer(401, {"error": "Unauthorized"})
            elif behaviour.failures:
                self.answer(behaviour.failures.pop(0), {"error": {"message": "EngineCore\nencountered an issue"}})
            else:
                return False
            return True

        def do_GET(self) -> None:
            if not self.refused():
                card = {"id": "tiny", "object": "model", "max_model_len": behaviour.max_model_len}
                self.answer(200, {"object": "list", "data": [card]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if behaviour.dead_after is not None and len(behaviour.asked) >= behaviour.dead_after:
                behaviour.connections += 1
                self.close_connection = True  # no answer at all
                return
            if self.refused():
                return
            with behaviour.lock:
                behaviour.asked.append(body)
                behaviour.now_open += 1
                behaviour.most_open = max(behaviour.most_open, behaviour.now_open)
            content = behaviour.complete(body)
            with behaviour.lock:
                behaviour.now_open -= 1
            self.answer(200, content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class SamplingParams:
    """Takes what vLLM's takes of our arguments, and nothing else."""

    def __init__(
        self, *, temperature, max_tokens, seed, stop_token_ids, ignore_eos, logprobs, detokenize, output_kind
    ) -> None:
        self.draw = (seed, temperature, max_tokens, stop_token_ids)


class Engine:
    """An engine that makes one whole answer a step, the last request first."""

    def __init__(self, model, length: int) -> None:
        self.model, self.model_config = model, types.SimpleNamespace(max_model_len=length)
        self.open: dict[str, tuple[list[int], SamplingParams]] = {}
        self.aborted: list[str] = []

    def add_request(self, request_id: str, prompt: dict[str, list[int]], params: SamplingParams) -> None:
        assert request_id not in self.open
        self.open[request_id] = (prompt["prompt_token_ids"], params)

    def step(self) -> list[Any]:
        name, (prompt, params) = self.open.popitem()
        tokens, logprobs, _ = generate(self.model, prompt, *params.draw)
        steps = [{token: types.SimpleNamespace(logprob=value)} for token, value in zip(tokens, logprobs, strict=True)]
        output = types.SimpleNamespace(token_ids=tuple(tokens), logprobs=steps, finish_reason="length")
        return [types.SimpleNamespace(request_id=name, finished=True, outputs=[output])]

    def abort_request(self, request_ids: list[str]) -> None:
        self.aborted += request_ids


def module(model) -> types.ModuleType:
    """A module `vllm` whose every model is `model`."""
    vllm: Any = types.ModuleType("vllm")

    def make(model: str, **settings: Any) -> Any:
        vllm.settings = {"model": model, **settings}
        vllm.engine = Engine(vllm.held, settings.get("max_model_len", 2048))
        return types.SimpleNamespace(llm_engine=vllm.engine)

    vllm.held, vllm.LLM, vllm.SamplingParams = model, make, SamplingParams
    vllm.sampling_params = types.SimpleNamespace(RequestOutputKind=types.SimpleNamespace(FINAL_ONLY=2))
    return vllm
