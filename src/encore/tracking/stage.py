"""How a stage script ends when something goes wrong: one line and exit status 1 for what a user can put right."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, ParamSpec, TypeVar

from encore.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")

# What the machine lacks, not what the code does wrong.
_MACHINE_ERRORS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose a writable folder",
    errno.EACCES: "permission denied: check who owns it",
    errno.EPERM: "permission denied: check who owns it",
    errno.EMFILE: "too many open files: raise `ulimit -n`",
}
_RESUME = "then run the same command again: it resumes from the last checkpoint"
_NEARLY_FULL_BYTES = 16 * 2**20


def stage_main(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator for a stage's main function: the user's errors become one line on stderr and exit status 1.

    UserError, a full disk, a folder without permission and full GPU memory are the user's; any other exception is a
    defect and keeps its traceback. Ctrl-C exits with 130; SIGTERM unwinds the run as Ctrl-C does and exits with 143.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        previous = signal.signal(signal.SIGTERM, _terminated)
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            _end(f"interrupted; to go on, {_RESUME.removeprefix('then ')}", 130)
        except Exception as error:
            message = user_message(error)
            if message is None:
                raise
            _end(message, 1)
        finally:
            signal.signal(signal.SIGTERM, previous)

    return wrapped


def main(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Calls `function` as `stage_main` does: `if __name__ == "__main__": tracking.main(main)`."""
    stage_main(function)(*args, **kwargs)


def user_message(error: BaseException) -> str | None:
    """The one line for an error that the user can put right; None for a defect."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno in _MACHINE_ERRORS:
            where = f"{os.fspath(cause.filename)}: " if isinstance(cause.filename, str | os.PathLike) else ""
            return f"{where}{_MACHINE_ERRORS[cause.errno]}, {_RESUME}"
        text = str(cause)
        # Rust and C++ writers (safetensors, Torch) tell a full disk in their own exceptions.
        torch_writer = "PytorchStreamWriter failed" in text and shutil.disk_usage(".").free < _NEARLY_FULL_BYTES
        if "No space left on device" in text or torch_writer:
            return f"{_MACHINE_ERRORS[errno.ENOSPC]}, {_RESUME}"
        if type(cause).__name__ == "OutOfMemoryError":  # torch.OutOfMemoryError, without loading Torch
            return f"the GPU's memory is full: lower the batch size or the sequence length in params.yaml, {_RESUME}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _terminated(*_: object) -> NoReturn:
    raise SystemExit(143)


def _end(message: str, status: int) -> NoReturn:
    print(f"encore: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(status)
