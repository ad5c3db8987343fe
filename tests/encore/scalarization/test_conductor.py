"""The Conductor against golden numbers in float64, numbers worked out by hand, and what must hold whatever they are."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.errors import UserError
from encore.scalarization import Conductor, group_advantages, scores

ALPHAS = {"a1": 1.0, "a0.5": 0.5, "a0": 0.0}
MODES = ("raw", "rank_unit", "rank_over_n")
SOURCES = {"clipped": "bounded", "plain": "unbounded"}
EXACT = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(scope="module")
def cases(shared):
    folder = shared("fixtures/math/conductor")
    about = json.loads((folder / "cases.json").read_text())
    return [(case, dict(np.load(folder / case["file"]))) for case in about]


def conductor_of(case, golden, dtype=torch.float64) -> Conductor:
    made = Conductor(case["d"], case["K"], case["min_prob"]).to(dtype)
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(golden["W"]))
        made.bias.copy_(torch.from_numpy(golden["b"]))
        made.log_temperature.copy_(torch.from_numpy(golden["log_tau"]))
    return made


def flat(values: np.ndarray, dtype=torch.float64) -> torch.Tensor:
    """[N, G, ...] as [N * G, ...]."""
    tensor = torch.from_numpy(values).flatten(0, 1)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def test_probabilities_and_weights_are_the_golden_ones(cases):
    for case, golden in cases:
        made, h, actions = conductor_of(case, golden), flat(golden["h"]), flat(golden["actions"])
        assert torch.allclose(made.unbounded(h), flat(golden["probs_plain"]), **EXACT)
        assert torch.allclose(made.probabilities(h), flat(golden["probs_clipped"]), **EXACT)
        single = conductor_of(case, golden, torch.float32)
        assert torch.allclose(single.probabilities(h.float()).double(), flat(golden["probs_clipped"]), atol=5e-6)
        for name, alpha in ALPHAS.items():
            assert torch.allclose(made.weights(h, actions, alpha), flat(golden[f"weights_{name}"]), **EXACT)
    assert any(case["clipped_entries"] for case, _ in cases), "a case in which the minimum probability acts"


def test_scores_and_advantages_are_the_golden_ones(cases):
    for case, golden in cases:
        for mode in MODES:
            for name in ALPHAS:
                found = scores(flat(golden[f"rewards_{mode}"]), flat(golden[f"weights_{name}"]))
                assert torch.allclose(found, flat(golden[f"scalar_{mode}_{name}"]), **EXACT)
                valid = torch.ones(len(found), dtype=torch.bool)
                advantages = group_advantages(found, valid, case["G"])
                expected = flat(golden[f"adv_{mode}_{name}"])
                assert torch.allclose(advantages.double(), expected, atol=1e-3)


def test_losses_gradients_and_a_step_are_the_golden_ones(cases):
    for case, golden in cases:
        h, actions = flat(golden["h"]), flat(golden["actions"])
        for mode in MODES:
            for name in ALPHAS:
                advantages = flat(golden[f"adv_{mode}_{name}"])
                for source, through in SOURCES.items():
                    key = f"{mode}_{name}_{source}"
                    made = conductor_of(case, golden)
                    meta = made.loss(h, actions, advantages, 0.0, through)
                    total = made.loss(h, actions, advantages, case["entropy_coef"], through)
                    meta, added = meta.detach(), (total - meta).detach()
                    assert float(meta) == pytest.approx(float(golden[f"meta_{key}"]), rel=1e-9, abs=1e-11)
                    assert float(added) == pytest.approx(float(golden[f"ent_{key}"]), rel=1e-9, abs=1e-11)
                    total.backward()
                    named = {"W": made.weight, "b": made.bias, "log_tau": made.log_temperature}
                    for letter, parameter in named.items():
                        expected = torch.from_numpy(golden[f"grad_{letter}_{key}"])
                        assert torch.allclose(parameter.grad, expected, **EXACT), (key, letter)
                    for decay in ("0", "0.01"):
                        stepped = conductor_of(case, golden)
                        stepped.loss(h, actions, advantages, case["entropy_coef"], through).backward()
                        torch.optim.AdamW(stepped.parameters(), lr=case["lr"], weight_decay=float(decay)).step()
                        after = {"W": stepped.weight, "b": stepped.bias, "log_tau": stepped.log_temperature}
                        for letter, parameter in after.items():
                            expected = torch.from_numpy(golden[f"new_{letter}_{key}_wd{decay}"])
                            moved = torch.as_tensor(np.abs(golden[f"grad_{letter}_{key}"]) > 1e-9)
                            assert torch.allclose(parameter.detach()[moved], expected[moved], **EXACT), (key, letter)


def test_it_starts_uniform():
    assert torch.allclose(Conductor(8).probabilities(torch.randn(3, 8)), torch.full((3, 5), 0.2))


def test_loss_by_hand():
    """Two rewards, h = 1, W = (ln 3, 0), tau 1: pi = (3/4, 1/4). Actions 0 and 1 with advantages 1 and -1:
    -(1 * ln(3/4) - 1 * ln(1/4)) / 2 = -(ln 3) / 2, and H = 3/4 ln(4/3) + 1/4 ln 4."""
    made = Conductor(1, 2).double()
    with torch.no_grad():
        made.weight[0, 0] = math.log(3)
    h, actions, advantages = torch.ones(2, 1).double(), torch.tensor([0, 1]), torch.tensor([1.0, -1.0])
    entropy = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert float(made.loss(h, actions, advantages, 0.1).detach()) == pytest.approx(-math.log(3) / 2 - 0.1 * entropy)
    assert made.weights(h, actions, 0.5).tolist()[0] == pytest.approx([0.875, 0.125])


@given(st.lists(st.floats(-300, 300), min_size=5, max_size=5), st.floats(0.05, 20))
@settings(deadline=None, max_examples=50)
def test_probabilities_sum_to_one_and_none_vanishes(bias, temperature):
    made = Conductor(1)
    with torch.no_grad():
        made.bias.copy_(torch.tensor(bias))
        made.log_temperature.fill_(math.log(temperature))
    found = made.probabilities(torch.zeros(1, 1))[0].detach()
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    assert float(found.min()) >= 1e-4 / (1 + 5e-4) - 1e-9
    assert bool(torch.isfinite(found.log()).all())


def test_draws_follow_the_probabilities_and_the_generator():
    made = Conductor(1, 3)
    with torch.no_grad():
        made.bias.copy_(torch.tensor([0.7, 0.2, 0.1]).log())
    drawn = made.sample(torch.zeros(20000, 1), torch.Generator().manual_seed(0))
    shares = drawn.bincount(minlength=3) / 20000
    assert shares.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.015)
    assert torch.equal(drawn, made.sample(torch.zeros(20000, 1), torch.Generator().manual_seed(0)))
    assert not torch.equal(drawn, made.sample(torch.zeros(20000, 1), torch.Generator().manual_seed(1)))


def test_the_temperature_is_learned_and_floored():
    made = Conductor(1, 2, min_temperature=0.5)
    with torch.no_grad():
        made.bias[0] = 1.0
        made.log_temperature.fill_(-9.0)
    assert float(made.temperature) == 0.5
    made.keep_bounds()
    assert float(made.log_temperature.exp()) == pytest.approx(0.5)
    made.loss(torch.zeros(1, 1), torch.tensor([1]), torch.tensor([1.0])).backward()
    assert float(made.log_temperature.grad) < 0, "on the floor it can still rise"


def test_no_advantage_and_no_entropy_bonus_move_nothing():
    made = Conductor(4)
    torch.nn.init.normal_(made.weight)
    made.loss(torch.randn(6, 4), torch.zeros(6, dtype=torch.long), torch.zeros(6), 0.0).backward()
    assert all(float(parameter.grad.abs().max()) == 0 for parameter in made.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": 1}, "at least 2 rewards"),
        ({"min_probability": 0.2}, r"choose one in \(0, 1/5\)"),
        ({"min_temperature": 0.0}, "min_temperature is 0.0"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Conductor(4, **changes)
