"""How many processes share the work, and how they share the weights, must not matter to what is learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.encore.training import two_processes
from tests.encore.training.agents import processes

SHARING = {"ddp": ["grpo"], "fsdp": ["kl", "hpt"]}


@pytest.fixture(scope="module")
def saved_start(start, chat, tmp_path_factory) -> Path:
    return two_processes.save_start(start, chat.tokenizer, tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def alone(saved_start, tmp_path_factory):
    """What one process learns."""
    cases = sorted({case for cases in SHARING.values() for case in cases})
    return {case: processes.train(case, saved_start, tmp_path_factory.mktemp(case)) for case in cases}


@pytest.fixture(scope="module", params=SHARING)
def together(request, saved_start, tmp_path_factory):
    """What two processes learn, all cases in one start of them."""
    out = tmp_path_factory.mktemp(request.param)
    cases = SHARING[request.param]
    return two_processes.learn(processes.__file__, saved_start, out, cases, request.param)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(start, alone, together):
    for case, found in together.items():
        one, two = alone[case], found["whole"]
        two_processes.assert_close(one["weights"], two["weights"], case)
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
        two_processes.assert_learned(start.state_dict(), one["weights"])


@pytest.mark.slow
def test_a_resumed_training_of_two_ends_where_the_uncut_one_did(together):
    for case, found in together.items():
        two_processes.assert_resumed(found, case)
