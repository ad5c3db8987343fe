"""Every arm there is, found as the pipeline finds it: a new file in the folder is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest

from encore.arbitration import Arm, Context, Split, arm, arm_names, concentration
from encore.errors import UserError

N = 21


def context(seed: int = 0, rl_fraction: float = 0.5) -> Context:
    """All that an arm may ask for, at random but always the same."""
    random = np.random.default_rng(7)
    columns = {
        "norms": lambda: random.gamma(2.0, size=(N, 14)),
        "losses": random.gamma(2.0, size=N),
        "lengths": random.integers(5, 90, N),
        "task_types": random.choice(["pick", "look", "clean"], N),
        "pass_rates": random.integers(0, 9, N) / 8,
    }
    return Context(N, seed, rl_fraction, columns)


@pytest.mark.parametrize("name", arm_names())
def test_every_arm(name):
    found = arm(name)
    assert isinstance(found, Arm)
    assert found.name == name
    assert found.label
    reason = found.skip(context())
    if reason is not None:
        pytest.skip(f"{name} {reason}")
    halves = found.split(context())
    assert isinstance(halves, Split)
    for half in (halves.sft, halves.rl):
        assert all(type(place) is int and 0 <= place < N for place in half)
        assert half == sorted(set(half)), "places rise, each once"
    assert halves == found.split(context()), "the same context and seed give the same halves"


@pytest.mark.parametrize("name", arm_names())
def test_an_arm_says_what_it_lacks_before_it_fails(name):
    bare = Context(N)
    if arm(name).skip(bare) is None:
        arm(name).split(bare)
    else:
        with pytest.raises(UserError):
            arm(name).split(bare)


def test_labels_differ():
    labels = [arm(name).label for name in arm_names()]
    assert len(labels) == len(set(labels))


def test_an_unknown_arm_names_the_known_ones():
    with pytest.raises(UserError, match=r"unknown arm 'prsim'.*prism_high, prism_low"):
        arm("prsim")


def test_random_differs_by_seed_and_not_in_size():
    halves = [arm("random").split(context(seed)) for seed in range(5)]
    assert len({tuple(half.sft) for half in halves}) == 5
    assert {len(half.sft) for half in halves} == {len(arm("prism_low").split(context()).sft)} == {11}


def test_the_inverse_imitates_as_many_and_shares_only_the_middle():
    low, high = (arm(name).split(context()) for name in ("prism_low", "prism_high"))
    assert len(low.sft) == len(high.sft) == 11
    scores = concentration(context().norms)
    assert [scores[place] for place in set(low.sft) & set(high.sft)] == [np.median(scores)]
    assert scores[low.sft].max() == scores[high.sft].min() == np.median(scores)


def test_the_fraction_for_rl_is_heeded():
    assert len(arm("prism_low").split(context(rl_fraction=0.3)).rl) == 6
    assert len(arm("random").split(context(rl_fraction=0.3)).rl) == 6


def test_columns_are_loaded_once_and_only_if_asked_for():
    loads = []
    ctx = Context(2, columns={"norms": lambda: loads.append(1) or np.ones((2, 3))})
    arm("sft").split(ctx)
    assert loads == []
    assert ctx.missing("norms") is None
    _ = ctx.norms, ctx.norms
    assert loads == [1]
    with pytest.raises(UserError, match="have no losses; they have norms"):
        _ = ctx.losses
    with pytest.raises(UserError, match="3 rows for 2 examples"):
        _ = Context(2, columns={"lengths": [1, 2, 3]}).lengths
