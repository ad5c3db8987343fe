"""MAESTRO's training in two processes, from the stage's own command: cut and resumed, it makes the policies of one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.experiments.maestro_stages import read_json, run_stages

ARMS = ("sft", "ours")
SMALL = ("maestro.benchmarks.names=[rewriting]", "maestro.methods=[base,sft,ours]", "maestro.rl.steps=5")
TRAIN = [sys.executable, "-m", "experiments.maestro.train", "--benchmark", "rewriting"]


@pytest.mark.slow
def test_two_processes_cut_and_resumed_make_the_policies_of_one(checkout_factory):
    checkout = checkout_factory("maestro_launched")
    checkout.compose(*SMALL)
    run_stages(checkout, [f"{name} --benchmark rewriting" for name in ("data", "start", "preference", "train")])
    runs = checkout.path / "runs/maestro/train/rewriting"
    alone = checkout.path / "alone"
    runs.rename(alone)
    shutil.rmtree(checkout.path / ".encore")

    checkout.compose(*SMALL, "launch.processes=2")
    process = subprocess.Popen(TRAIN, cwd=checkout.path, env=checkout.environment(), start_new_session=True)
    deadline = time.monotonic() + 250
    # The cell of the first arm of RL is cut after a checkpoint; others have not begun.
    while not list((checkout.path / ".encore/work").glob("*/state.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143

    checkout.run(*TRAIN)
    sessions = []
    for arm in ARMS:
        made, one = runs / f"{arm}-0", alone / f"{arm}-0"
        record = yaml.safe_load((made / "run.yaml").read_text())
        costs = yaml.safe_load((one / "run.yaml").read_text())["costs"]
        assert record["tags"]["processes"] == "2"
        sessions.append(record["sessions"])
        for name, value in load_file(made / "model/model.safetensors").items():
            expected = load_file(one / "model/model.safetensors")[name]
            assert torch.allclose(value, expected, atol=1e-5), (arm, name)
        for name in ("tokens_trained", "tokens_generated"):
            assert record["costs"][name] == costs[name], (arm, name)
        lines = [(root / "metrics.jsonl").read_text().splitlines() for root in (made, one)]
        assert len(lines[0]) == len(lines[1])
    ours, expected = (read_json(root / "ours-0/weights.json") for root in (runs, alone))
    for line, other in zip(ours["history"], expected["history"], strict=True):
        assert line["step"] == other["step"] and line["weights"] == pytest.approx(other["weights"], abs=1e-4)
    assert 2 in sessions
    assert "processes" not in yaml.safe_load((runs / "base-0/run.yaml").read_text())["tags"], "it trains nothing"
    again = checkout.run(*TRAIN)
    assert again.stdout.count("is up to date") == 3, "and no launcher is started"
