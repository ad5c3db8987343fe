"""`make repro`: as `dvc repro prism.compare`, with the environments side by side, each with its share of the cores.

A tiny model gains little from a second thread, and one environment needs nothing of another until the comparison. DVC
gives its lock free while a command runs, so that several `dvc repro` of different stages may run at once
(https://dvc.org/doc/command-reference/repro). In the end `dvc repro prism.compare` looks at everything once more: what
it finds up to date is up to date, however it was made.

Stages of every paper need not import torch each for itself (`experiments.warm`), DVC reads and writes its lock quicker
(`experiments.quick_dvc`), and short runs go to MLflow while others are made (`experiments.deliver`).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from encore import configuration, tracking
from encore.errors import UserError
from encore.tracking.delivery import Delivery
from encore.tracking.run import HOME
from experiments import warm
from experiments.prism.settings import PrismSettings, settings

TARGET = "prism.compare"
COLLISIONS = (  # of DVC's lock, of DVC's locks of files, of Encore's lock of a run
    "Unable to acquire lock",
    "is busy, it is being blocked by",
    "is already running in another process",
)
WAIT_S, MOST_WAITS = 5.0, 360
DVC = (sys.executable, "-m", "experiments.quick_dvc")
SKIPPED = "didn't change, skipping"
GRACE_S = 30.0  # for a stage that was told to end
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # here: a forked child must load nothing


def chain(prism: PrismSettings, environment: str) -> list[str]:
    """The stages of one environment, each after what it needs."""
    stages = [f"prism.{stage}@{environment}" for stage in ("demos", "probe", "pass_rates", "split")]
    for seed in prism.seeds:
        for method in prism.methods:
            stages += [f"prism.{stage}@{environment}-{method}-{seed}" for stage in ("train", "evaluate")]
    return stages


class Warm:
    """A process that has imported what stages import, started when it is first asked for; see `experiments.warm`."""

    def __init__(self, path: Path, paper: str, threads: int) -> None:
        self.path, self.paper, self.threads = path, paper, threads
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, str]:
        """The variable by which stages find it; empty if it did not start, and stages do without it."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "experiments.warm", str(self.path), self.paper],
                env={"OMP_NUM_THREADS": str(self.threads), **os.environ},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        while self.process.poll() is None and not self.path.exists():
            time.sleep(0.05)
        return {warm.VARIABLE: str(self.path)} if self.process.poll() is None else {}

    def stop(self) -> None:
        """Ends it; a stage that it runs is over by then."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Repro:
    """One `dvc repro`, run again while another process is in its way; its lines are printed behind `name`."""

    name: str
    arguments: Sequence[str]
    threads: int
    warm: Warm | None = None
    process: subprocess.Popen[str] | None = None
    status: int | None = None
    stopped: bool = False
    skipped: int = 0
    lines: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Until it is done (`status` 0), failed, or stopped."""
        for _ in range(MOST_WAITS):
            status = self._once()
            if self.stopped:
                return
            if status == 0 or not any(text in line for line in self.lines for text in COLLISIONS):
                self.status = status
                return
            self._print(f"another process is in the way; next try in {WAIT_S:g} s")
            time.sleep(WAIT_S)
        self.status = 1

    def stop(self, number: int) -> None:
        """Sends the signal `number` to DVC and the stage it runs."""
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def _once(self) -> int:
        self.lines = []
        found = self.warm.start() if self.warm is not None else {}
        self.process = subprocess.Popen(
            [*DVC, "--wait-for-lock", "repro", *self.arguments],
            env={"OMP_NUM_THREADS": str(self.threads), **os.environ, **found},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a process group, which ends as a whole
            preexec_fn=_end_with_parent,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if SKIPPED in line:
                self.skipped += 1
            elif line.strip():
                self._print(line.rstrip())
        return self.process.wait()

    def _print(self, line: str) -> None:
        print(f"{self.name:<9}| {line}" if self.name else line, flush=True)


def _end_with_parent() -> None:
    """In a child: an interrupt is heard, also under a shell's `&`, which ignores it; on Linux, SIGTERM if the parent is
    killed, so that no pipeline goes on unseen."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def side_by_side(repros: Sequence[Repro]) -> None:
    """Runs all; the first that fails ends the others. Raises UserError with what failed."""
    threads = [threading.Thread(target=repro.run, daemon=True) for repro in repros]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not any(repro.status for repro in repros):
            time.sleep(0.1)
    finally:
        # An interrupt ends all, as a failure does. A stage that is told to end keeps what it committed.
        running = [repro for repro, thread in zip(repros, threads, strict=True) if thread.is_alive()]
        for number in (signal.SIGINT, signal.SIGKILL):
            for repro in running:
                repro.stop(number)
            deadline = time.monotonic() + GRACE_S
            while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
                time.sleep(0.1)
        for repro in repros:
            if repro.warm is not None:
                repro.warm.stop()
    failed = [repro for repro in repros if repro.status]
    if failed:
        raise UserError(f"`dvc repro` failed{f' for {failed[0].name}' if failed[0].name else ''}: see its lines above")


@contextlib.contextmanager
def delivery() -> Iterator[None]:
    """Sends queued runs to MLflow meanwhile, unless they are to wait or not to be sent."""
    mode = configuration.read(["tracking"])["tracking"].get("mlflow")
    if Delivery(mode, HOME).mode not in ("auto", "on"):
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.deliver"], start_new_session=True, preexec_fn=_end_with_parent
    )
    try:
        yield
    finally:  # what it has not sent stays queued
        process.terminate()
        process.wait()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@tracking.stage_main
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", default=[TARGET], help=f"stages (default {TARGET})")
    parser.add_argument("--jobs", type=int, default=0, help="environments side by side (default: as the cores allow)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    available = cores()
    with tempfile.TemporaryDirectory(prefix="encore-") as folder, delivery():
        if options.targets == [TARGET]:
            prism = settings()  # a mistake in params.yaml is told before anything runs
            device = configuration.read(["policy"])["policy"]["device"]
            jobs = options.jobs or (available if device == "cpu" else 0)
            if jobs >= len(prism.environments):
                side_by_side([Repro("base", ["base.pretrain"], available)])
                threads = max(1, available // len(prism.environments))

                def repro(name: str) -> Repro:
                    process = Warm(Path(folder, name), "prism", threads)
                    return Repro(name, ["--single-item", *chain(prism, name)], threads, process)

                side_by_side([repro(name) for name in prism.environments])
        papers = {target.split(".")[0] for target in options.targets}
        paper = papers.pop() if len(papers) == 1 else ""
        warmed = Warm(Path(folder, paper), paper, available) if paper in warm.IMPORTS else None
        last = Repro("", options.targets, available, warmed)
        side_by_side([last])
    if last.skipped:
        print(f"{last.skipped} stages were up to date")


if __name__ == "__main__":
    main()
