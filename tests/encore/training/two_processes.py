"""A training shared by two processes: starts them, trains case after case in them, and compares what they learned.

A test names a script whose `train(case, start, checkpoints, resumed_from=None)` returns what was learned: "weights" (a
state dict), "curve" (a list of step and values) and "sharded" (whether the processes shared the weights). The script
calls `main`; the test calls `learn` for two processes, and the script's `train` itself for one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import sharding

Weights = dict[str, torch.Tensor]


def save_start(model: Any, tokenizer: Any, folder: Path) -> Path:
    """Writes the policy from which all processes start; returns `folder`."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def learn(script: str, start: Path, out: Path, cases: Iterable[str], sharing: str) -> dict[str, dict[str, Any]]:
    """What `main` saved, by case, after `script` ran in two processes that share the work by `sharing`: ddp or fsdp."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    if sharing == "fsdp":
        environment |= sharding.ENVIRONMENT
    done = subprocess.run(
        [*launch, str(start), str(out), *cases], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-8000:]
    found = {case: torch.load(out / f"{case}.pt", weights_only=True) for case in cases}
    assert all(result["whole"]["sharded"] == (sharing == "fsdp") for result in found.values())
    return found


def main(train: Callable[..., dict[str, Any]], last: int) -> None:
    """`python -m torch.distributed.run … SCRIPT START OUT CASE…`: each case uncut, and resumed before iteration `last`.

    Saves {"whole": …, "resumed": …} of the first process as OUT/CASE.pt, and the whole of the second as
    OUT/CASE-second.pt.
    """
    start, out, cases = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    sharding.allow_on_cpus()
    for case in cases:
        whole = train(case, start, out / case)
        resumed = train(case, start, out / case, resumed_from=last - 1)
        if torch.distributed.get_rank() == 0:
            torch.save({"whole": whole, "resumed": resumed}, out / f"{case}.pt")
        else:
            torch.save(whole, out / f"{case}-second.pt")
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def assert_close(one: Weights, two: Weights, case: str) -> None:
    """Two processes add up in another order than one does."""
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5), (case, name)


def assert_learned(before: Weights, after: Weights) -> None:
    """Some weight has moved by more than `assert_close` would let pass."""
    assert any(not torch.allclose(value, before[name], atol=1e-4) for name, value in after.items())


def assert_resumed(found: dict[str, Any], case: str) -> None:
    """What was resumed before the last iteration ends exactly where the uncut training did."""
    for name, value in found["whole"]["weights"].items():
        assert torch.equal(value, found["resumed"]["weights"][name]), (case, name)
    assert found["resumed"]["curve"] == [found["whole"]["curve"][-1]]
