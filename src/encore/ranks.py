"""One of the processes of a training: the first keeps the run, the others take part and write nothing.

All of this costs one process nothing: without the launcher's variables there is no import and no barrier.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from encore import tracking


def processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return processes() == 1 or os.environ["RANK"] == "0"


def join() -> Any:
    """accelerate's PartialState: this process has joined the others, and has its device."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def wait() -> None:
    """Returns when every process has come here."""
    if processes() > 1:
        join().wait_for_everyone()


def summed(counts: Mapping[str, float]) -> dict[str, float]:
    """Each count, added up over the processes; all of them have to call it with the same names."""
    if processes() == 1:
        return dict(counts)
    import torch

    state = join()
    total = torch.tensor([float(counts[name]) for name in sorted(counts)], dtype=torch.float64, device=state.device)
    torch.distributed.all_reduce(total)
    return dict(zip(sorted(counts), total.tolist(), strict=True))


def start(**what: Any) -> tracking.Run:
    """As `encore.tracking.start`; the first process's run is the run, the others' keeps nothing."""
    if processes() == 1:
        return tracking.start(**what)
    join()
    made: Any = _FirstsRun if is_first() else _OthersRun
    names = ("out", "stage", "experiment", "group", "seed", "params", "inputs", "continues", "profile")
    defaults: dict[str, Any] = {"group": {}, "params": {}, "inputs": ()}
    run: tracking.Run = made(**{name: what.get(name, defaults.get(name)) for name in names})
    return run


def _told(value: Any) -> Any:
    """The first process's value, in every process."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


class _FirstsRun(tracking.Run):
    """The run, whose others know from where it resumes and are ready when it ends."""

    def __enter__(self) -> tracking.Run:
        super().__enter__()
        _told((self.resumed, self.checkpoint))
        self.tag({"processes": processes()})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            wait()  # until then they may read what ends with the run
        super().__exit__(kind, error, trace)


class _OthersRun(tracking.Run):
    """What another process has in place of the run: the same folders and checkpoint, and nothing is kept."""

    def __enter__(self) -> tracking.Run:
        self.resumed, self.checkpoint = _told(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            wait()

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def count(self, **_: float) -> None:
        pass

    def curve(self, values: Mapping[str, Any], step: int) -> None:
        pass

    def result(self, values: Mapping[str, Any]) -> None:
        pass

    def dataset(self, *_: Any, **__: Any) -> None:
        pass

    def tag(self, tags: Mapping[str, Any]) -> None:
        pass

    def commit(self, checkpoint: str | None = None) -> None:
        pass
