"""How many processes share the prompts, and how they share the weights, must not matter to policy and Conductor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from encore.errors import UserError
from encore.training.conductor import MultiRewardSettings
from encore.training.conductor.several import dealt
from tests.encore.training import two_processes
from tests.encore.training.conductor import processes

SHARING = {"ddp": ["conductor", "blended", "joint", "equal", "random"], "fsdp": ["sharded", "joint"]}


@pytest.fixture(scope="module")
def saved_start(start, chat, tmp_path_factory) -> Path:
    return two_processes.save_start(start, chat.tokenizer, tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def alone(saved_start, tmp_path_factory):
    """What one process learns."""
    return {case: processes.train(case, saved_start, tmp_path_factory.mktemp(case)) for case in processes.CASES}


@pytest.fixture(scope="module", params=SHARING)
def together(request, saved_start, tmp_path_factory):
    """What two processes learn, all cases in one start of them; `second`: what the second of them holds."""
    out = tmp_path_factory.mktemp(request.param)
    found = two_processes.learn(processes.__file__, saved_start, out, SHARING[request.param], request.param)
    for case, result in found.items():
        result["second"] = torch.load(out / f"{case}-second.pt", weights_only=True)
    return found


def same(one, two, tolerance: float) -> None:
    """Compares nested states."""
    if isinstance(one, torch.Tensor):
        assert torch.allclose(one.double(), two.double(), atol=tolerance, rtol=0)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for name, value in one.items():
            same(value, two[name], tolerance)
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for value, other in zip(one, two, strict=True):
            same(value, other, tolerance)
    else:
        assert one == pytest.approx(two, abs=tolerance) if isinstance(one, float) else one == two


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(start, alone, together):
    before = start.state_dict()
    for case, found in together.items():
        one, two = alone[case], found["whole"]
        two_processes.assert_close(one["weights"], two["weights"], case)
        two_processes.assert_learned(before, one["weights"])
        assert one["generated"] == two["generated"] > 0
        same(one["history"], two["history"], 1e-4)
        learned = one["scalarizer"].get("conductor")
        if learned is not None:
            assert float(learned["weight"].abs().max()) > 1e-3, "the Conductor has learned"
            same(learned, two["scalarizer"]["conductor"], 1e-4)
        if "generator" in one["scalarizer"]:
            assert torch.equal(one["scalarizer"]["generator"], two["scalarizer"]["generator"]), "as many draws"
        for (step, values), (other, others) in zip(one["curve"], two["curve"], strict=True):
            assert step == other and values.keys() == others.keys()
            for name in values:
                if name.startswith(("reward/", "rollout/", "weight/")):
                    assert values[name] == pytest.approx(others[name], abs=1e-4), (case, step, name)


@pytest.mark.slow
def test_both_hold_the_same_conductor(together):
    for found in together.values():
        same(found["whole"]["scalarizer"], found["second"]["scalarizer"], 0.0)


@pytest.mark.slow
def test_a_resumed_training_of_two_ends_where_the_uncut_one_did(together):
    for case, found in together.items():
        two_processes.assert_resumed(found, case)
        same(found["whole"]["scalarizer"], found["resumed"]["scalarizer"], 0.0)
        assert found["resumed"]["history"] == found["whole"]["history"]


def test_groups_stay_whole_and_similar_lengths_meet():
    lengths = [9, 1, 3, 2, 8, 8, 4, 1]  # of groups of two: 9, 3, 8, 4
    assert dealt(lengths, 2, 2, 2) == [[[2, 3], [6, 7]], [[4, 5], [0, 1]]]
    assert dealt(lengths, 2, 2, 1) == [[[2, 3, 6, 7]], [[4, 5, 0, 1]]]


def test_prompts_that_processes_cannot_share_are_refused():
    with pytest.raises(UserError, match=r"rl\.prompts_per_step is 4, and 3 processes share them"):
        MultiRewardSettings(prompts_per_step=4).accumulation(3)
    assert MultiRewardSettings(prompts_per_step=16, group_size=8, device_batch=8).accumulation(8) == 2
