"""The gradient walk: the authors' own lists, the slow walk on random problems, and what must hold of any walk."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.selection import gradient_walk, rows, walk
from encore.selection.neighbours import faiss_lists, neighbour_lists, recall
from encore.selection.principal import core_knowledge
from encore.selection.rows import UnitRows
from encore.selection.walk_options import WalkOptions

CASES = range(6)
SEEDS = st.integers(0, 2**32 - 1)


def golden(shared, number):
    folder = shared("fixtures/math/walk")
    about = json.loads((folder / "cases.json").read_text())[number]
    return about, np.load(folder / about["file"])


def walked(train, targets, count, options=None, **more):
    """The walk with its steps."""
    options = options or WalkOptions()
    core = core_knowledge(torch.as_tensor(targets), **options.core())
    return walk.walk(UnitRows(train), core, count, options, **more), core


# --- the authors' program -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", CASES)
def test_the_authors_lists_in_order(shared, number):
    about, case = golden(shared, number)
    for run in about["runs"]:
        neighbours = about["N"] - 1 if run["K"] == "all" else int(run["K"])
        wanted = case[f"selected_K{run['K']}_r{run['train_k']}"].tolist()
        found = gradient_walk(case["train"], case["val"], run["train_k"], neighbours=neighbours)
        assert found == wanted, f"K={run['K']}, {run['train_k']}"
        detail, _ = walked(case["train"], case["val"], run["target"], WalkOptions(neighbours=neighbours))
        assert detail.indices == wanted
        assert detail.budgets == run["budgets"]
        ways = [step.via for step in detail.steps]
        assert (ways.count("neighbour"), ways.count("fallback")) == (run["local"], run["fallback"])
        assert sum(detail.budgets) - len(detail.steps) == run["short"]


@pytest.mark.parametrize("number", CASES)
def test_the_authors_components(shared, number):
    _, case = golden(shared, number)
    core = core_knowledge(torch.from_numpy(case["val"]))
    np.testing.assert_allclose(core.components, case["components"], atol=1e-4)
    np.testing.assert_allclose(core.weights, case["weights"], rtol=1e-5)


@pytest.mark.parametrize("number", CASES)
def test_the_authors_neighbours(shared, number):
    _, case = golden(shared, number)
    wanted = case["neighbours50"]
    found = neighbour_lists(UnitRows(case["train"]), wanted.shape[1], float64=True, block=37)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("number", CASES)
def test_given_lists_take_the_place_of_exact_ones(shared, number):
    _, case = golden(shared, number)
    found = gradient_walk(case["train"], case["val"], 0.1, neighbours=5, graph=case["neighbours50"])
    assert found == case["selected_K5_r0.1"].tolist()


def test_the_numpy_walk_of_the_benchmark_gives_the_authors_lists(shared, peers):
    for number in CASES:
        about, case = golden(shared, number)
        unit = peers.unit(case["train"].astype(np.float64))
        components, weights = peers.principal_components(case["val"].astype(np.float64))
        for run in about["runs"]:
            lists = peers.graph(unit, about["N"] - 1 if run["K"] == "all" else int(run["K"]))
            found = peers.walk(unit, components, weights, run["target"], lists)
            assert found == case[f"selected_K{run['K']}_r{run['train_k']}"].tolist()


# --- the slow walk --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    n=st.integers(2, 70),
    dim=st.integers(2, 12),
    targets=st.integers(3, 30),
    mean=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    fraction=st.sampled_from([0.1, 0.3, 0.7, 1.0]),
    neighbours=st.sampled_from([0, 1, 4, 20, 1000]),
    delta=st.sampled_from([0.0, 0.5, 0.8, 0.95, 1.0]),
    variance=st.sampled_from([0.2, 0.5, 0.9]),
)
def test_equals_the_slow_walk(peers, problem, seed, n, dim, targets, mean, fraction, neighbours, delta, variance):
    train, validation = problem(seed, n, dim, targets, mean)
    count = max(1, int(n * fraction))
    unit = peers.unit(train)
    components, weights = peers.principal_components(validation, variance)
    wanted = peers.walk(unit, components, weights, count, peers.graph(unit, neighbours), delta)
    options = WalkOptions(delta=delta, variance=variance, neighbours=neighbours)
    assert walked(train, validation, count, options)[0].indices == wanted


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, spread=st.sampled_from([1e-5, 1e-6]), neighbours=st.sampled_from([3, 8, 100]))
def test_decides_in_float64_what_float32_cannot_tell_apart(peers, problem, seed, spread, neighbours):
    """Bunches of rows whose cosines differ by 1e-10 or 1e-12: less than float32 holds, more than float64 errs."""
    middles, validation = problem(seed, n=9, dim=6, mean=1.0)
    random = np.random.default_rng(seed)
    train = np.repeat(peers.unit(middles), 5, axis=0) + spread * random.normal(size=(45, 6))
    train = train[random.permutation(45)]
    unit = peers.unit(train)
    components, weights = peers.principal_components(validation)
    wanted = peers.walk(unit, components, weights, 20, peers.graph(unit, neighbours))
    assert walked(train, validation, 20, WalkOptions(neighbours=neighbours))[0].indices == wanted


# --- how it is computed does not matter -----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, numbers=st.integers(1, 300), queries=st.sampled_from([1, 2, 5]))
def test_blocks_and_lanes_change_nothing(problem, seed, numbers, queries):
    train, validation = problem(seed, n=50, dim=7, targets=20)
    options = WalkOptions(variance=0.9, neighbours=6)
    whole, _ = walked(train, validation, 25, options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_NUMBERS_AT_ONCE", numbers)
        patch.setattr(walk, "_QUERIES_AT_ONCE", queries)
        parts, _ = walked(train, validation, 25, options)
    assert parts.indices == whole.indices
    assert [step.via for step in parts.steps] == [step.via for step in whole.steps]
    assert parts.readings >= whole.readings, "components in step share their readings"


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_a_store_gives_what_its_rows_give(problem, store_of, dtype):
    train, validation = problem(3, n=120, dim=24, targets=30)
    pool, targets = store_of(train, dtype), store_of(validation, dtype)
    kept = torch.from_numpy(pool[:])
    found = gradient_walk(pool, targets, 0.3, neighbours=10)
    assert found == gradient_walk(kept, torch.from_numpy(targets[:]), 0.3, neighbours=10)
    assert found == gradient_walk(kept.numpy(), targets[:], 0.3, neighbours=10)
    if dtype == "fp32":
        assert found == gradient_walk(train.astype(np.float32), validation.astype(np.float32), 0.3, neighbours=10)


def test_half_precision_in_memory(problem):
    train, validation = problem(4, n=80, dim=16)
    for dtype in (torch.float16, torch.bfloat16):
        kept = torch.from_numpy(train).to(dtype)
        wanted = gradient_walk(kept.float(), validation, 0.3)
        assert gradient_walk(kept, validation, 0.3) == wanted


# --- what must hold of every walk -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    mean=st.sampled_from([0.0, 0.5, 2.0]),
    delta=st.sampled_from([0.5, 0.8, 1.0]),
    neighbours=st.sampled_from([2, 10, 100]),
    consistency=st.sampled_from(["absolute", "signed"]),
    sign=st.sampled_from(["native", "mean"]),
    centred=st.booleans(),
)
def test_every_pick_meets_the_constraints_and_says_how(
    peers, problem, seed, mean, delta, neighbours, consistency, sign, centred
):
    train, validation = problem(seed, n=60, dim=8, targets=20, mean=mean)
    options = WalkOptions(
        delta=delta, variance=0.8, neighbours=neighbours, consistency=consistency, sign=sign, centred=centred
    )
    found, core = walked(train, validation, 30, options)
    unit, components = peers.unit(train), core.components.numpy()
    lists = peers.graph(unit, neighbours)

    def along(total, component):
        value = float(total @ components[component]) / float(np.linalg.norm(total))
        return abs(value) if consistency == "absolute" else value

    assert len(set(found.indices)) == len(found.indices), "each once"
    assert sum(found.budgets) == 30
    assert [step.component for step in found.steps] == sorted(step.component for step in found.steps)
    close = pytest.approx
    for component, budget in enumerate(found.budgets):
        steps = [step for step in found.steps if step.component == component]
        assert len(steps) <= budget
        mine: list[int] = []
        for step in steps:
            assert (step.place, step.budget) == (len(mine), budget)
            assert step.affinity == close(float(unit[step.row] @ components[component]), abs=1e-5)
            total = unit[[*mine, step.row]].sum(0)
            assert step.new_consistency == close(along(total, component), abs=1e-9)
            if not mine:
                assert step.via == "anchor"
            else:
                cosines = unit[mine] @ unit[step.row]
                assert cosines.min() >= 0, "no conflict"
                assert step.smallest_similarity == close(cosines.min(), abs=1e-5)
                assert step.similarity == close(cosines[-1], abs=1e-5)
                assert step.reached_from == mine[-1]
                old = along(unit[mine].sum(0), component)
                assert step.old_consistency == close(old, abs=1e-9)
                assert along(total, component) >= delta * old - 1e-12, "consistent with the component"
                assert (step.via == "neighbour") == (step.row in lists[mine[-1]])
            mine.append(step.row)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, mean=st.sampled_from([0.0, 1.0]))
def test_lengths_order_and_units_do_not_matter(problem, seed, mean):
    train, validation = problem(seed, n=50, dim=7, targets=15, mean=mean)
    random = np.random.default_rng(seed + 1)
    wanted = gradient_walk(train, validation, 0.4, neighbours=5)
    assert gradient_walk(train * random.gamma(1.0, size=(50, 1)) + 0.0, validation, 0.4, neighbours=5) == wanted
    assert gradient_walk(train, validation * 1e-6, 0.4, neighbours=5) == wanted
    assert gradient_walk(train, validation[random.permutation(15)], 0.4, neighbours=5) == wanted
    order = random.permutation(50)
    moved = gradient_walk(train[order], validation, 0.4, neighbours=5)
    assert [int(order[row]) for row in moved] == wanted


def test_tiny_gradients(problem):
    """Rows of 1e-25, whose squares float32 does not hold."""
    train, validation = problem(5, n=40)
    assert gradient_walk(train * 1e-25, validation, 0.5) == gradient_walk(train, validation, 0.5)


def test_an_excluded_row_is_never_taken(problem):
    train, validation = problem(6)
    first, _ = walked(train, validation, 20)
    assert first.indices
    second, _ = walked(train, validation, 20, excluded=first.indices)
    assert second.indices and not set(first.indices) & set(second.indices)


def test_short_of_its_budget_where_everything_conflicts(caplog):
    train = np.array([[1.0, 0.1], [-1.0, 0.1], [-0.5, -1.0]])
    found, _ = walked(train, np.array([[1.0, 0.0], [-1.0, 0.1], [0.5, 0.0]]), 3)
    assert found.indices == [0]
    assert "1 of 3 samples chosen" in caplog.text


# --- components -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, targets=st.integers(3, 40), dim=st.integers(2, 20), variance=st.floats(0.05, 0.95))
def test_components_are_those_of_an_svd(peers, problem, seed, targets, dim, variance):
    _, validation = problem(seed, dim=dim, targets=targets)
    components, weights = peers.principal_components(validation, variance)
    core = core_knowledge(torch.from_numpy(validation), variance)
    np.testing.assert_allclose(core.components, components, atol=1e-6)
    np.testing.assert_allclose(core.weights, weights, rtol=1e-9)


def test_the_open_choices_of_components(problem):
    _, validation = problem(7, dim=20, targets=9)
    rows_ = torch.from_numpy(validation)
    mean = rows_.mean(0)
    assert (core_knowledge(rows_, 0.9, sign="mean").components @ mean >= 0).all()
    assert len(core_knowledge(rows_, 0.3, mode="count_ratio").components) == 6  # int(0.3 · 20)
    assert len(core_knowledge(rows_, 0.5, mode="count").components) == 5  # ⌈0.5 · 9⌉
    first = core_knowledge(rows_, 0.1, centred=False).components[0]
    expected = torch.linalg.svd(rows_, full_matrices=False).Vh[0]
    assert float((first @ expected).abs()) == pytest.approx(1)


# --- FAISS ----------------------------------------------------------------------------------------------------------


def test_faiss_finds_most_neighbours(problem):
    pytest.importorskip("faiss", reason="FAISS is not installed")
    train, _ = problem(8, n=400, dim=16)
    pool = UnitRows(train)
    exhaustive = faiss_lists(pool, 10, probes=20)  # every cluster: only the 8 bits err
    assert recall(exhaustive, pool, 10, range(50)) > 0.9
    few = faiss_lists(pool, 10, probes=1)
    assert recall(few, pool, 10, range(50)) < recall(exhaustive, pool, 10, range(50))
