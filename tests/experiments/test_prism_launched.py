"""PRISM's training in two processes, from the stage's own command: cut and resumed, it makes the policy of one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file

from experiments.prism.settings import routes_of

CELL = ("--environment", "webshop", "--method", "sft_then_rl", "--seed", "0")
SMALL = (
    "webshop.demonstrations=8",
    "prism.sft.epochs=1",
    "prism.sft.checkpoint_every=1",
    "prism.rl.webshop.iterations=2",
    "prism.rl.webshop.tasks_per_iteration=4",
    "prism.rl.webshop.group_size=2",
    "prism.rl.webshop.checkpoint_every=1",
    "prism.rl.webshop.kl=0.01",
)
TRAIN = [sys.executable, "-m", "experiments.prism.train", *CELL]


@pytest.mark.slow
def test_two_processes_cut_and_resumed_make_the_policy_of_one(checkout_factory):
    checkout = checkout_factory("launched")
    checkout.compose(*SMALL)
    checkout.run(sys.executable, "-m", "experiments.prism.demos", "--environment", "webshop")
    demos = (checkout.path / "runs/prism/demos/webshop/demos.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in demos]
    split = checkout.path / routes_of("webshop", "sft_then_rl", 0)
    split.parent.mkdir(parents=True)
    split.write_text(json.dumps({"sft": ids, "rl": ids}))
    out = checkout.path / "runs/prism/train/webshop-sft_then_rl-0"

    checkout.run(*TRAIN)
    alone, result = load_file(out / "model/model.safetensors"), json.loads((out / "metrics.json").read_text())
    costs = yaml.safe_load((out / "run.yaml").read_text())["costs"]

    checkout.compose(*SMALL, "launch.processes=2")
    process = subprocess.Popen(TRAIN, cwd=checkout.path, env=checkout.environment(), start_new_session=True)
    deadline = time.monotonic() + 250
    while not committed(checkout.path).startswith("rl/"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143

    checkout.run(*TRAIN)
    record = yaml.safe_load((out / "run.yaml").read_text())
    assert record["sessions"] == 2 and record["tags"]["processes"] == "2"
    for name, value in load_file(out / "model/model.safetensors").items():
        assert torch.allclose(value, alone[name], atol=1e-5), name
    found = json.loads((out / "metrics.json").read_text())
    for name in ("examples", "steps", "tokens", "response_tokens"):
        assert found[name] == result[name]
    assert found["rl"]["episodes"] == result["rl"]["episodes"]
    for name in ("tokens_trained", "tokens_generated", "environment_steps"):
        assert record["costs"][name] == costs[name], name
    assert len((out / "metrics.jsonl").read_text().splitlines()) == result["steps"] + result["rl"]["iterations"]
    assert not list((checkout.path / ".encore/work").iterdir())


def committed(path) -> str:
    """Name of the last committed checkpoint."""
    for state in path.glob(".encore/work/*/state.json"):
        return json.loads(state.read_text()).get("checkpoint") or ""
    return ""
