"""A stage in several processes: it starts itself again under accelerate's launcher, and ends when they have all ended.

The launcher is that of `accelerate launch --config_file CONFIG --num_processes N -m MODULE …`, called here instead of
from a shell, so that signals and failures pass through one process: what fails in any of the others is said once, in
one line, and all of them end. What each of them does is in `encore.ranks`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.errors import UserError

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # torch's launcher names it for each process, and reads it when one fails
LOST = "lost the connection to another process of the training"
_LOST_SIGNS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL communicator was aborted")


@dataclass(frozen=True)
class LaunchSettings:
    """The section `launch` of params.yaml: on how many devices a training runs. It changes no result.

    Attributes:
        processes: one a device; 1: no launcher.
        config: file of accelerate that says how weights are shared (conf/accelerate/): `ddp.yaml`, all weights in each
            process, or `fsdp.yaml`, sharded.
    """

    processes: int = 1
    config: str = "conf/accelerate/ddp.yaml"

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UserError(f"launch.processes is {self.processes}: it must be at least 1")


def is_due(settings: LaunchSettings) -> bool:
    """Whether this process has to start others: it is to be several, and is none of them yet."""
    return settings.processes > 1 and "RANK" not in os.environ


def arguments(module: str, settings: LaunchSettings, own: list[str]) -> list[str]:
    """What follows `accelerate launch`."""
    launcher = ["--config_file", settings.config, "--num_processes", str(settings.processes)]
    return [*launcher, "--main_process_port", "0", "-m", module, *own]  # 0: a free port


def restart(module: str, settings: LaunchSettings, device: str, own: list[str] | None = None) -> None:
    """Runs `module` in `settings.processes` processes; returns when all have succeeded.

    They get the options `own`, without these this process's own.

    Raises UserError in one line, of the process that failed first. SIGTERM and Ctrl-C end all of them, and this one.
    """
    import torch
    from accelerate.commands import launch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    sharded = shards(settings)
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if not on_cpu and torch.cuda.device_count() < settings.processes:
        raise UserError(
            f"launch.processes is {settings.processes}, and this machine shows torch {torch.cuda.device_count()} GPUs: "
            "lower it, or set policy.device: cpu"
        )
    if on_cpu and sharded:
        raise UserError(
            f"launch.config is {settings.config}, and accelerate shards no weights on CPUs: choose "
            "conf/accelerate/ddp.yaml"
        )
    if on_cpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    import logging

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # its report is several screens
    sys.stdout.flush()
    given = arguments(module, settings, sys.argv[1:] if own is None else own)
    try:
        launch.launch_command(launch.launch_command_parser().parse_args(given))
    except ChildFailedError as error:
        raise UserError(_reason(error)) from error
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        raise SystemExit(128 + int(error.sigval)) from error


def shards(settings: LaunchSettings) -> bool:
    """Whether the launcher's file deals weights out (FSDP). Raises UserError if it is not there."""
    import yaml

    path = Path(settings.config)
    if not path.is_file():
        raise UserError(f"launch.config is '{path}': there is no such file; choose one of conf/accelerate/")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return isinstance(content, dict) and content.get("distributed_type") == "FSDP"


def _reason(error: Any) -> str:
    """The line of the failure that the others followed from."""
    failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
    # Of a process that wrote nothing, torch's own word stands where the written message would.
    told = [failure for failure in failures if isinstance(failure.error_file_data.get("message"), dict)]
    for failure in told:
        message = failure.error_file_data["message"]["message"]
        if message != LOST:
            return str(message)
    first = next((failure for failure in failures if failure not in told), failures[0])
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        hint = ", as the system does when memory is full" if name == "SIGKILL" else ""
        how = f"was ended by {name}{hint}"
    else:
        how = f"ended with status {first.exitcode}; its traceback is above"
    return f"process {first.local_rank} of the training {how}: run the same command again, it resumes"


@contextmanager
def reported() -> Iterator[None]:
    """In a process that the launcher started: an error that a person can put right goes to the launcher, silently.

    A connection that is lost because another process has failed is silent too. Elsewhere it does nothing.
    """
    path = os.environ.get(ERROR_FILE)
    if path is None:
        yield
        return
    from encore.tracking.stage import user_message

    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # the launcher says it
    except Exception as error:
        message = user_message(error)
        if message is None and any(sign in str(error) for sign in _LOST_SIGNS):
            message = LOST
        if message is None:
            raise
        content = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
        Path(path).write_text(json.dumps(content), encoding="utf-8")
        raise SystemExit(1) from None
