"""The cells of a stage, several processes at a time: what imports torch once can train many tiny models.

A cell is a run of its own (its folder, its hash, its checkpoints). One whose folder holds a finished run of the same
inputs is left as it is, so a stage that was cut goes on where it was.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from encore.tracking import Run
from encore.tracking.files import read_yaml

Job = tuple[str, str, int]
"""Benchmark, arm, seed."""


def finished(run: Run) -> bool:
    """Whether the run's folder already holds a finished run of the same inputs."""
    record = run.final / "run.yaml"
    if not record.is_file():
        return False
    content = read_yaml(record)
    return content["status"] == "finished" and content["inputs_hash"] == run.inputs_hash


def run_all(
    work: Callable[[Job], Any], jobs: Sequence[Job], workers: int, imports: Sequence[str] | None = None
) -> None:
    """Does `work` for every job, `workers` at a time; the first exception ends the others and is raised.

    `work` is a function at the top of a module. With `imports`, workers are forks of this process, which imports these
    modules first, so that no worker does; it must have computed nothing with torch until then, since torch's threads do
    not come along, and be on a CPU. Without, each worker is a fresh process.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for job in jobs:
            work(job)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started now
    for name in imports or ():
        importlib.import_module(name)
    context = get_context("spawn" if imports is None else "fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:  # a failed cell, or the end of this process: nothing is waited for
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def keep_only(folder: Path, names: Sequence[str]) -> None:
    """Removes cells that are no longer asked for."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and path.name not in names:
            shutil.rmtree(path)


def _end_with_parent() -> None:
    """On Linux, in a child: SIGTERM if the parent is killed, so that no cell goes on unseen. A fork has the stage's way
    to end on a signal, which a pool would take for the end of a cell."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    import torch

    torch.set_num_threads(1)
