"""Parts of a stage in processes of their own, on a CPU: a tiny model gains little from a second thread.

They are forked: what is imported before is not imported again by each. So a stage computes nothing with torch before it
forks, for its threads do not come along.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from encore import tracking


def side_by_side(work: Callable[[Any], None], shares: Sequence[Any]) -> None:
    """`work(share)` for each of `shares`: in as many processes of one thread; in this one if there is one, or a GPU.

    Ends this process with the status of the first that failed, which has said why.
    """
    import torch

    if len(shares) <= 1 or torch.cuda.is_available():
        for share in shares:
            work(share)
        return
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(work, share, os.getpid())) for share in shares]
    try:
        for child in children:
            child.start()
        for child in children:
            child.join()
    finally:  # of a stage that is stopped: it would wait for them
        for child in children:
            if child.is_alive():
                child.terminate()
    failed = [child.exitcode for child in children if child.exitcode]
    if failed:
        raise SystemExit(abs(failed[0]))


def share_cores(workers: int) -> None:
    """Leaves this process its part of the cores, where `workers` side by side are what the profile wants.

    Two threads wait for each other at each step of a tiny model: on a busy machine for longer than they compute.
    """
    import torch

    if workers > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // workers))


def dealt(items: Sequence[Any], workers: int) -> list[list[Any]]:
    """`items` in at most `workers` shares, in turn; none is empty."""
    shares = [list(items[worker::workers]) for worker in range(workers)]
    return [share for share in shares if share]


@tracking.stage_main
def _child(work: Callable[[Any], None], share: Any, parent: int) -> None:
    import torch

    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    work(share)


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone: a killed stage must not go on training in the background."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
