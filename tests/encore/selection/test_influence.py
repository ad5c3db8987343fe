"""LESS: the formula, golden scores over two checkpoints, and what scaling must not change."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.errors import UserError
from encore.selection import less_scores, rows
from encore.selection.influence import subtask_scores

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("kind", ["less_code", "paper", "sgd"])
def test_golden_scores(shared, kind):
    folder = shared("fixtures/math/adam_grad")
    golden = np.load(folder / "golden.npz")
    warmup = json.loads((folder / "warmup.json").read_text())
    subtasks = [name for name in range(warmup["n_subtasks"]) for _ in range(warmup["per_subtask"])]
    pools = [golden[f"ckpt{number}_train_{kind}"] for number in (0, 1)]
    targets = [golden[f"ckpt{number}_val_sgd"] for number in (0, 1)]
    weights = [one["weight"] for one in warmup["checkpoints"]]
    of_subtasks = subtask_scores(pools, targets, weights, subtasks)
    np.testing.assert_allclose(of_subtasks.T, golden[f"subtask_{kind}"], atol=1e-6)
    np.testing.assert_allclose(less_scores(pools, targets, weights, subtasks), golden[f"score_{kind}"], atol=1e-6)
    np.testing.assert_array_equal(of_subtasks.argmax(0), golden[f"argmax_subtask_{kind}"])


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 40), targets=st.integers(1, 9), checkpoints=st.integers(1, 3))
def test_equals_the_formula(peers, seed, n, targets, checkpoints):
    random = np.random.default_rng(seed)
    pools = [random.normal(size=(n, 6)) for _ in range(checkpoints)]
    aims = [random.normal(size=(targets, 6)) for _ in range(checkpoints)]
    weights = random.gamma(1.0, size=checkpoints) + 1e-3
    subtasks = random.choice(["a", "b", "c"], targets).tolist()
    wanted = peers.less_scores(pools, aims, weights, subtasks)
    np.testing.assert_allclose(less_scores(pools, aims, weights, subtasks), wanted, atol=2e-6)
    lengths = random.gamma(2.0, size=(n, 1))
    scaled = less_scores([lengths * pool for pool in pools], [3e-7 * aim for aim in aims], 1e5 * weights, subtasks)
    np.testing.assert_allclose(scaled, wanted, atol=2e-6)


def test_blocks_and_stores_change_nothing(store_of):
    random = np.random.default_rng(0)
    pool, targets = random.normal(size=(70, 12)), random.normal(size=(5, 12))
    wanted = less_scores(pool, targets)
    for dtype, error in (("fp32", 1e-6), ("fp16", 1e-3), ("int8", 2e-2)):
        store = store_of(pool, dtype)
        found = less_scores(store, targets)
        np.testing.assert_allclose(found, wanted, atol=error)
        np.testing.assert_allclose(found, less_scores(store[:], targets), atol=1e-6)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows, "_NUMBERS_AT_ONCE", 40)
            np.testing.assert_allclose(less_scores(store, targets), found, atol=1e-6)


def test_of_one_subtask_is_the_mean_cosine():
    pool, targets = torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 2.0, 0]])
    assert less_scores(pool, targets).tolist() == pytest.approx([0.5, 0.5, 0])
    assert less_scores(pool, targets, subtasks=["x", "y"]).tolist() == pytest.approx([1, 1, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoint_weights": [1.0, 2.0]}, "2 checkpoint weights for 1 checkpoints"),
        ({"checkpoint_weights": [0.0]}, "must be above 0"),
        ({"checkpoint_weights": [float("nan")]}, "must be above 0"),
        ({"subtasks": ["a"]}, "1 subtasks for 2 target examples"),
        ({"validation": [torch.ones(2, 4)] * 2}, "1 checkpoints, the targets of 2"),
        ({"validation": torch.ones(2, 5)}, "4 and 5 dimensions"),
        ({"validation": torch.zeros(2, 4)}, "target example 0 is zero"),
        ({"validation": torch.ones(0, 4)}, "target has no feature rows"),
        ({"train": torch.full((3, 4), float("nan"))}, "pool example 0 is not finite"),
        ({"train": []}, "0 checkpoints"),
    ],
)
def test_refuses_in_one_line(change, message):
    arguments = {"train": torch.ones(3, 4), "validation": torch.ones(2, 4)} | change
    with pytest.raises(UserError, match=message) as caught:
        less_scores(**arguments)
    assert "\n" not in str(caught.value)
