"""An OpenAI-style chat server on this machine that judges as a test wants, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Bench:
    """`answer` makes the judge's text from a request's body; `failures` are statuses of the next answers."""

    answer: Callable[[dict[str, Any]], str | None]
    failures: list[int] = field(default_factory=list)
    slow_s: list[float] = field(default_factory=list)  # delays of the next answers
    dead_after: int | None = None  # answers, after which connections are closed unanswered
    key: str | None = None
    latency_s: float = 0.0
    paths: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    now_open: int = 0
    most_open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def served(bench: Bench) -> Iterator[str]:
    """Gives the server's address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def reply(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with bench.lock:
                bench.connections += 1
                bench.now_open += 1
                bench.most_open = max(bench.most_open, bench.now_open)
                status = bench.failures.pop(0) if bench.failures else 200
                delay = bench.slow_s.pop(0) if bench.slow_s else bench.latency_s
                dead = bench.dead_after is not None and len(bench.asked) >= bench.dead_after
                if bench.key is not None and self.headers["Authorization"] != f"Bearer {bench.key}":
                    status = 401
                if status == 200 and not dead:
                    bench.asked.append(body)
                    bench.paths.append(self.path)
            try:
                time.sleep(delay)
                if dead:
                    self.close_connection = True  # no answer at all
                elif status != 200:
                    self.reply(status, {"error": {"message": f"status\n{status}"}})
                else:
                    message = {"role": "assistant", "content": bench.answer(body)}
                    usage = {"prompt_tokens": 10, "completion_tokens": 2}
                    self.reply(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client did not wait
            finally:
                with bench.lock:
                    bench.now_open -= 1

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
