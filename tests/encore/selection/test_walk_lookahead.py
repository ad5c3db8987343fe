"""A sketch of the pool changes how often it is read, and nothing of what a walk chooses or says of a choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.selection import bounds, lookahead, sketch, walk
from encore.selection import lane as lanes
from encore.selection.neighbours import neighbour_lists
from encore.selection.principal import core_knowledge
from encore.selection.rows import Checkpoints, UnitRows
from encore.selection.sketch import Sketch, make_sketch, sketched
from encore.selection.walk_options import WalkOptions

SEEDS = st.integers(0, 2**32 - 1)


def some_sketch(rows, directions: int, likely: float, seed: int = 0) -> Sketch:
    """Of a random subspace: bounds that are true and wide."""
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(rows.dim, directions)))[0].T
    return sketched(rows.cosines(torch.from_numpy(basis.copy()).float()), likely)


def low_rank(seed: int, n: int, dim: int, rank: int = 6, noise: float = 0.3, mean: float = 1.0) -> np.ndarray:
    """Rows near a few directions, as gradients of one model are."""
    random = np.random.default_rng(seed)
    topics = random.normal(size=(rank, dim)) / dim**0.5
    rows = random.normal(size=(n, rank)) @ topics + noise * random.normal(size=(n, dim)) / dim**0.5
    return rows + mean * topics[0]


def both(rows, targets, count, made, options=None, **more):
    """The walk with a sketch, the walk without, both on the same rows; checked to be the same."""
    options = options or WalkOptions(variance=0.9, neighbours=12)
    core = core_knowledge(torch.as_tensor(targets), **options.core())
    rounds = []
    advance = walk._advance

    def limited(asked, rows):
        rounds.append(len(asked))
        assert len(rounds) < 2_000, "lanes go back for ever"
        return advance(asked, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "_advance", limited)
        with_, without = (walk.walk(rows, core, count, options, sketch=one, **more) for one in (made, False))
    assert with_.indices == without.indices
    assert with_.budgets == without.budgets
    for one, other in zip(with_.steps, without.steps, strict=True):
        assert (one.row, one.component, one.place, one.via, one.reached_from) == (
            other.row, other.component, other.place, other.via, other.reached_from,
        )  # fmt: skip
        for name in ("similarity", "smallest_similarity", "old_consistency", "new_consistency", "affinity"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=5e-6)
    return with_, without


@pytest.fixture
def sketches_for_small_pools(monkeypatch):
    monkeypatch.setattr(sketch, "FEWEST_ROWS", 1)


# --- the result is the same -----------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(
    seed=SEEDS,
    n=st.integers(2, 90),
    dim=st.integers(2, 12),
    mean=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    directions=st.integers(1, 12),
    likely=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    few=st.sampled_from([1, 4, 64]),
    memory=st.sampled_from([1, 1 << 20]),
    ahead=st.sampled_from([1, 3, 100]),
    queries=st.sampled_from([1, 3, 256]),
    sparse=st.sampled_from([0.0, 2.0]),
    neighbours=st.sampled_from([0, 1, 4, 20, 1000]),
    delta=st.sampled_from([0.0, 0.8, 0.95, 1.0]),
    consistency=st.sampled_from(["absolute", "signed"]),
)
def test_any_sketch_any_prediction_any_limit(
    problem, seed, n, dim, mean, directions, likely, few, memory, ahead, queries, sparse, neighbours, delta, consistency
):
    """Also predictions that are mostly wrong (likely 0), and lanes that take each other's rows (half of the pool)."""
    train, targets = problem(seed, n, dim, 20, mean)
    rows = UnitRows(train)
    made = some_sketch(rows, min(directions, dim), likely, seed)
    options = WalkOptions(delta=delta, variance=0.9, neighbours=neighbours, consistency=consistency)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookahead, "_FEWEST", few)
        patch.setattr(lookahead, "_FIRST", min(few, 8))
        patch.setattr(bounds, "_MEMORY", memory)
        patch.setattr(lanes, "_MOST_PREDICTED", ahead)
        patch.setattr(walk, "_QUERIES_AT_ONCE", queries)
        patch.setattr(walk, "_SPARSE", sparse)
        both(rows, targets, max(1, n // 2), made, options)


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    spread=st.sampled_from([0.0, 1e-6, 1e-5, 1e-3]),
    likely=st.sampled_from([0.0, 0.5, 1.0]),
    few=st.sampled_from([1, 64]),
    memory=st.sampled_from([1, 1 << 20]),
)
def test_cosines_that_float32_cannot_tell_apart(problem, peers, seed, spread, likely, few, memory):
    """Bunches of rows in one place, or nearly: which of them comes first is for float64, with a sketch as without.

    Also where a lane can look at one row at a time and what it knew of the others is forgotten: it must not be wrong in
    turns for ever.
    """
    middles, targets = problem(seed, n=9, dim=6, mean=1.0)
    random = np.random.default_rng(seed)
    train = np.repeat(peers.unit(middles), 5, axis=0) + spread * random.normal(size=(45, 6))
    rows = UnitRows(train[random.permutation(45)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookahead, "_FEWEST", few)
        patch.setattr(bounds, "_MEMORY", memory)
        both(rows, targets, 20, some_sketch(rows, 3, likely, seed), WalkOptions(neighbours=6))


@pytest.mark.parametrize("mean", [0.0, 1.0], ids=["conflicting", "mixed"])
@pytest.mark.parametrize("dtype", ["memory", "fp32", "fp16", "int8"])
def test_a_store_and_its_own_sketch(store_of, sketches_for_small_pools, mean, dtype):
    pool = low_rank(1, 900, 64, mean=mean)
    rows = UnitRows(pool if dtype == "memory" else store_of(pool, dtype))
    both(rows, low_rank(2, 30, 64, mean=mean), 120, True, WalkOptions(variance=0.8, neighbours=50))


def test_checkpoints_as_one_pool(sketches_for_small_pools):
    parts = [UnitRows(low_rank(seed, 600, 32)) for seed in (1, 2)]
    rows = Checkpoints(parts, [0.7, 0.3])
    aims = np.concatenate([low_rank(seed, 25, 32) for seed in (1, 2)], axis=1)
    with_, without = both(rows, aims, 80, True)
    assert with_.readings < without.readings


def test_excluded_rows_and_given_lists(sketches_for_small_pools):
    pool, targets = low_rank(3, 700, 48), low_rank(4, 25, 48)
    rows = UnitRows(pool)
    first, _ = both(rows, targets, 60, True)
    second, _ = both(rows, targets, 60, True, excluded=first.indices)
    assert second.indices and not set(first.indices) & set(second.indices)
    lists = neighbour_lists(rows, 12)
    with_, without = both(rows, targets, 60, True, lists=lists.__getitem__)
    assert with_.indices == first.indices
    assert with_.readings < without.readings


def test_clusters_outside_of_the_sketch(sketches_for_small_pools):
    """The rest of a row is no noise here: what is left out of the rows of a cluster is the same for all of them."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(40, 64)) / 8
    pool = centres[random.integers(0, 40, 800)] + 0.05 * random.normal(size=(800, 64)) / 8 + 0.5 * centres[0]
    rows = UnitRows(pool)
    made = some_sketch(rows, 8, likely=0.05)
    both(rows, low_rank(6, 30, 64), 200, made)


def test_a_wrong_prediction_costs_no_reading_of_its_own(sketches_for_small_pools):
    """The check of it has told which row is nearer."""
    pool, targets = low_rank(14, 3000, 200, noise=0.8), low_rank(15, 40, 200)
    rows = UnitRows(pool)
    made, _ = make_sketch(rows, torch.zeros(1, 200))
    assert made is not None
    wrong = []
    go_back = lanes.Lane._go_back
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes.Lane, "_go_back", lambda lane, place: (wrong.append(place), go_back(lane, place)))
        patch.setattr(lookahead, "_FEWEST", 8)
        patch.setattr(lookahead, "_SHARE", 3000)
        options = WalkOptions(variance=0.2, neighbours=3000)  # one component
        with_, _ = both(rows, targets, 60, replace(made, likely=0.0), options)
    assert len(wrong) >= 3
    assert with_.readings <= len(wrong) + 2


# --- what it is for -------------------------------------------------------------------------------------------------


def test_reads_the_pool_far_less_often(sketches_for_small_pools):
    rows = UnitRows(low_rank(7, 3000, 200, noise=0.5))
    with_, without = both(rows, low_rank(8, 40, 200), 150, True, WalkOptions(neighbours=1000))
    assert with_.readings <= 6 < 40 < without.readings


def test_without_structure_there_is_no_sketch(sketches_for_small_pools):
    random = np.random.default_rng(0)
    rows = UnitRows(random.normal(size=(1000, 900)))
    assert make_sketch(rows, torch.zeros(1, 900)) == (None, None)


def test_a_useless_sketch_costs_few_readings():
    """Bounds that tell nothing: the lane notices, and walks by readings as it would without."""
    rows = UnitRows(low_rank(9, 2000, 64, rank=40))
    made = Sketch(np.zeros((1, 2000), np.float32), np.ones(2000, np.float32), likely=1.0)
    with_, without = both(rows, low_rank(10, 30, 64, rank=40), 100, made, WalkOptions(variance=0.3))
    assert with_.readings <= 1.3 * without.readings


def test_bounds_are_true(sketches_for_small_pools):
    rows = UnitRows(low_rank(11, 800, 500, noise=0.6))
    made, affinity = make_sketch(rows, torch.eye(500)[:2])
    assert made is not None and affinity is not None
    exact = rows.exact(range(800))
    np.testing.assert_allclose(affinity, exact[:, :2].T, atol=1e-6)
    cosines = (exact @ exact.T).numpy()
    errors, margins = [], []
    for row in range(0, 800, 7):
        near, margin = made.about(row)
        errors.append(np.delete(np.abs(near - cosines[row]), row))
        margins.append(np.delete(margin, row))
    assert (np.stack(errors) <= np.stack(margins)).all()
    share = (np.stack(errors) <= made.likely * np.stack(margins)).mean()
    assert made.likely < 0.9 and share > 0.99, "what is likely is narrower than what is certain, and nearly always true"


def test_rows_that_lie_in_the_directions_need_no_others(sketches_for_small_pools):
    """Then bounds are exact but for rounding."""
    directions = torch.eye(40, dtype=torch.float64)[:3]
    rows = UnitRows(np.random.default_rng(16).normal(size=(600, 3)) @ directions.numpy())
    made, affinity = make_sketch(rows, directions)
    assert made is not None and affinity is not None
    assert made.inside.shape == (3, 600)
    near, margin = made.about(5)
    np.testing.assert_allclose(near, (rows.exact(range(600)) @ rows.exact([5])[0]).numpy(), atol=1e-6)
    assert margin.max() < 1e-4
    both(rows, low_rank(17, 20, 40, rank=3), 60, True)


def test_what_waits_to_be_checked_is_limited(monkeypatch, sketches_for_small_pools):
    """In numbers, in bytes, and in the queries of one reading."""
    pool, targets = low_rank(12, 1200, 900, noise=1.2), low_rank(13, 30, 900)
    rows = UnitRows(pool)
    seen: list[int] = []
    cosines = UnitRows.cosines

    def counted(self, queries):
        seen.append(len(queries))
        return cosines(self, queries)

    monkeypatch.setattr(UnitRows, "cosines", counted)
    monkeypatch.setattr(lookahead, "_FEWEST", 24)
    monkeypatch.setattr(lookahead, "_SHARE", 1200)
    most: list[int] = []
    advance = walk._advance

    def advanced(asked, rows):
        most.append(max(len(lane.predicted) for lane in asked))
        return advance(asked, rows)

    monkeypatch.setattr(walk, "_advance", advanced)
    monkeypatch.setattr(walk, "_SPARSE", 0.0)
    options = WalkOptions(variance=0.2, neighbours=1000)  # one component
    core = core_knowledge(torch.as_tensor(targets), **options.core())
    plain = walk.walk(rows, core, 90, options)
    assert max(most) > 10 and max(seen[1:]) > 10, "all of them wait, and are checked in one reading"
    monkeypatch.setattr(lanes, "_MOST_DOUBTFUL", 1)
    most.clear()
    assert walk.walk(rows, core, 90, options).indices == plain.indices
    assert max(most) == 1
    monkeypatch.setattr(lanes, "_MOST_DOUBTFUL", 1 << 23)
    monkeypatch.setattr(lanes, "_MOST_PREDICTED", 5)
    most.clear()
    assert walk.walk(rows, core, 90, options).indices == plain.indices
    assert max(most) == 5
    monkeypatch.setattr(lanes, "_MOST_PREDICTED", 100)
    monkeypatch.setattr(walk, "_COSINES_MEMORY", 3 * 4 * 1200)
    seen.clear()
    assert walk.walk(rows, core, 90, options).indices == plain.indices
    assert max(seen[1:]) <= 3, "the first reading makes the sketch"
