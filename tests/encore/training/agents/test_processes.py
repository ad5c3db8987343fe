"""How many processes share the work, and how they share the weights, must not matter to what is learned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.encore.training import sharding
from tests.encore.training.agents import processes

SHARING = {"ddp": ["grpo"], "fsdp": ["kl", "hpt"]}


@pytest.fixture(scope="module")
def saved_start(start, chat, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    start.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def alone(saved_start, tmp_path_factory):
    """What one process learns."""
    cases = sorted({case for cases in SHARING.values() for case in cases})
    return {case: processes.train(case, saved_start, tmp_path_factory.mktemp(case)) for case in cases}


@pytest.fixture(scope="module", params=SHARING)
def together(request, saved_start, tmp_path_factory):
    """What two processes learn, all cases in one start of them."""
    out = tmp_path_factory.mktemp(request.param)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", processes.__file__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    if request.param == "fsdp":
        environment |= sharding.ENVIRONMENT
    cases = SHARING[request.param]
    done = subprocess.run(
        [*launch, str(saved_start), str(out), *cases], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-8000:]
    found = {case: torch.load(out / f"{case}.pt", weights_only=True) for case in cases}
    assert all(result["whole"]["sharded"] == (request.param == "fsdp") for result in found.values())
    return found


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(start, alone, together):
    for case, found in together.items():
        one, two = alone[case], found["whole"]
        for name, value in one["weights"].items():
            assert torch.allclose(value, two["weights"][name], atol=1e-5), (case, name)
        for (step, values), (other, others) in zip(one["curve"], two["curve"], strict=True):
            assert step == other
            for name in ("rollout/success", "rollout/return", "rollout/invalid_share", "rollout/constant_groups"):
                assert values[name] == pytest.approx(others[name], abs=1e-6), (case, name)
            if case == "kl" and step > 1:  # TRL averages it by device step, and those hold other rows
                assert 0 < values["rl/kl"] == pytest.approx(others["rl/kl"], rel=0.1)
        if case == "hpt":
            shares = [values["rollout/sft_share"] for _, values in one["curve"]]
            assert shares == [values["rollout/sft_share"] for _, values in two["curve"]]
            assert any(0 < share < 1 for share in shares), "one process imitates while the other explores"
        before = start.state_dict()
        assert any(not torch.allclose(value, before[name], atol=1e-4) for name, value in one["weights"].items())


@pytest.mark.slow
def test_a_resumed_training_of_two_ends_where_the_uncut_one_did(together):
    for case, found in together.items():
        for name, value in found["whole"]["weights"].items():
            assert torch.equal(value, found["resumed"]["weights"][name]), (case, name)
        last = found["whole"]["curve"][-1]
        assert found["resumed"]["curve"] == [last]
