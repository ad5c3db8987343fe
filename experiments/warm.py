"""A process that has imported what stages import, and forks for each: `python -m experiments.warm SOCKET PAPER`.

Importing torch, transformers and TRL takes as long as a stage of the tiny model computes. `make repro` starts one such
process for each environment and names its socket in ENCORE_WARM; a stage that finds it there hands over its command
line, folder, environment and outputs, and ends as the fork ends. Without the variable a stage does its own imports:
the same result, later. The fork computes in a process that has computed nothing, so nothing passes from stage to stage.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, NoReturn

VARIABLE = "ENCORE_WARM"
IMPORTS = {  # what a paper's stages import; MLflow's client beside, which delivers what they made
    "prism": (
        "encore.tasks",
        "encore.models",
        "encore.gradients",
        "encore.rollout",
        "encore.evaluation.panels",
        "encore.training.supervised",
        "encore.training.agents.training",
        "experiments.prism.halves",
    ),
    "agents": (
        "encore.tasks",
        "encore.models",
        "encore.rollout",
        "encore.evaluation.panels",
        "encore.training.supervised",
        "encore.training.agents.training",
    ),
    "g2is": (
        "encore.models",
        "encore.gradients",
        "encore.selection",
        "encore.statistics",
        "encore.training.supervised",
        "encore.evaluation.answers",
    ),
    "maestro": (
        "encore.models",
        "encore.rollout",
        "encore.training.supervised",
        "encore.training.conductor.training",
        "encore.rewards.preference_training",
        "encore.evaluation.chrf",
        "encore.tracking.mlflow_sync",
        "experiments.maestro.policies",
    ),
}
LOOK_S = 0.05  # between looks at whether the stage that asked is still there


def delegate(module: str) -> None:
    """Runs `main` of `module` in the warm process and ends this one with its status; returns if there is none."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        request = {
            "module": module,
            "argv": sys.argv,
            "orig_argv": sys.orig_argv,
            "folder": str(Path.cwd()),
            "environment": {name: value for name, value in os.environ.items() if name != VARIABLE},
        }
        body = json.dumps(request).encode()
        socket.send_fds(connection, [struct.pack("!Q", len(body))], [0, 1, 2])
        connection.sendall(body)
        pid = _number(connection)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: os.kill(pid, received))
        status = _number(connection)
    raise SystemExit(status if status >= 0 else 128 - status)


def serve(path: str, paper: str) -> None:
    """Answers one stage of `paper` after another, until it is told to end; imports when the first asks."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.part")
        listener.listen()
        Path(f"{path}.part").rename(path)  # only now: what finds it can connect
        select.select([listener], [], [])  # if everything is up to date, nobody asks
        for name in (*IMPORTS[paper], "encore.tracking.mlflow_client"):
            importlib.import_module(name)
        gc.freeze()  # a fork's collections need not walk what is imported
        while True:
            connection, _ = listener.accept()
            with connection:
                header, outputs, _, _ = socket.recv_fds(connection, 8, 3)
                request = json.loads(_read(connection, struct.unpack("!Q", header)[0]))
                child = os.fork()
                if child == 0:
                    listener.close()
                    connection.close()
                    _become(request, outputs)
                for output in outputs:
                    os.close(output)
                connection.sendall(struct.pack("!q", child))
                status = _ended(child, connection)
                if status is not None:
                    connection.sendall(struct.pack("!q", status))


def _become(request: dict[str, Any], outputs: list[int]) -> NoReturn:
    """In the fork: the process that asked, but for its id."""
    for number, output in enumerate(outputs):
        os.dup2(output, number)
        os.close(output)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv, sys.orig_argv = request["argv"], request["orig_argv"]
    importlib.import_module(request["module"]).main()
    raise SystemExit(0)


def _ended(child: int, connection: socket.socket) -> int | None:
    """Exit status of the fork, negative for a signal; None if the stage that asked was killed, and the fork with it."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        readable, _, _ = select.select([connection], [], [], LOOK_S)
        if readable and not connection.recv(1):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None


def _read(connection: socket.socket, size: int) -> bytes:
    body = b""
    while len(body) < size:
        part = connection.recv(size - len(body))
        if not part:
            raise ConnectionError("the process at the other end of the socket has ended")
        body += part
    return body


def _number(connection: socket.socket) -> int:
    (number,) = struct.unpack("!q", _read(connection, 8))
    return int(number)


if __name__ == "__main__":
    serve(*sys.argv[1:])
