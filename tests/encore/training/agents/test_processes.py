"""How many processes share the work must not matter to what is learned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def train(processes: int, start: Path, out: Path, updates: int, algorithm: str) -> dict:
    out.mkdir()
    script = str(Path(__file__).with_name("processes.py"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*launch, str(start), str(out), str(updates), algorithm]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-8000:]
    return torch.load(out / "result.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["grpo", "hpt"])
def test_two_processes_learn_what_one_learns(start, chat, tmp_path, algorithm):
    updates = 2  # the second update also needs the ratio to the sampling policy
    start.save_pretrained(tmp_path / "start")
    chat.tokenizer.save_pretrained(tmp_path / "start")
    one = train(1, tmp_path / "start", tmp_path / "one", updates, algorithm)
    two = train(2, tmp_path / "start", tmp_path / "two", updates, algorithm)
    for name, value in one["weights"].items():
        assert torch.allclose(value, two["weights"][name], atol=1e-5), name
    before = torch.load(tmp_path / "one" / "result.pt", weights_only=True)["curve"]
    for (step, values), (other, others) in zip(before, two["curve"], strict=True):
        assert step == other
        for name in ("rollout/success", "rollout/return", "rollout/invalid_share", "rollout/constant_groups"):
            assert values[name] == pytest.approx(others[name], abs=1e-6), name
    if algorithm == "hpt":
        shares = [values["rollout/sft_share"] for _, values in before]
        assert shares == [values["rollout/sft_share"] for _, values in two["curve"]]
        assert any(0 < share < 1 for share in shares), "one process imitates while the other explores"
    start_weights = {name: value for name, value in start.state_dict().items()}
    assert any(not torch.allclose(value, start_weights[name], atol=1e-4) for name, value in one["weights"].items())
