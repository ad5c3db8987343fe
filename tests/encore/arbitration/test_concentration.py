"""Concentration scores and the split: golden numbers, and what must hold of any row."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from encore.arbitration import Split, concentration, split
from encore.arbitration.concentration import METRICS
from encore.errors import UserError

ROWS = arrays(np.float64, (3, 9), elements=st.floats(1e-6, 1e6))


def test_golden_vectors(shared):
    for vector in json.loads(shared("fixtures/math/concentration/vectors.json").read_text())["vectors"]:
        for metric in METRICS:
            wanted = np.nan if vector[metric] is None else vector[metric]
            np.testing.assert_allclose(concentration(np.array([vector["norms"]]), metric), [wanted], rtol=1e-9)


def test_golden_routing(shared):
    for case in json.loads(shared("fixtures/math/concentration/vectors.json").read_text())["routing"]:
        found = split(case["scores"])
        assert found.rl == np.flatnonzero(case["route"]).tolist()
        assert found.sft == np.flatnonzero(np.equal(case["route"], 0)).tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_golden_scores_of_a_model(shared, metric):
    golden = np.load(shared("fixtures/math/concentration/golden.npz"))
    scores = concentration(torch.from_numpy(golden["norms"]).float(), metric)
    assert isinstance(scores, torch.Tensor)
    np.testing.assert_allclose(scores, golden[metric], rtol=1e-4)
    assert split(scores).rl == np.flatnonzero(golden[f"route_{metric}"]).tolist()


@pytest.mark.parametrize("metric", ["gini", "kurtosis", "cv"])
@given(rows=ROWS, scale=st.floats(1e-3, 1e3))
def test_the_size_of_a_gradient_drops_out(metric, rows, scale):
    np.testing.assert_allclose(concentration(rows * scale, metric), concentration(rows, metric), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_the_order_of_matrices_does_not_matter(metric, rows, seed):
    shuffled = np.random.default_rng(seed).permutation(rows, axis=1)
    np.testing.assert_allclose(concentration(shuffled, metric), concentration(rows, metric), rtol=1e-6, atol=1e-9)


@given(rows=ROWS)
def test_bounds(rows):
    n = rows.shape[1]
    assert ((concentration(rows, "gini") >= -1e-12) & (concentration(rows, "gini") <= 1 - 1 / n + 1e-12)).all()
    kurtosis = concentration(rows, "kurtosis")
    assert (np.isnan(kurtosis) | (kurtosis >= 1 - 1e-9)).all()


def test_a_single_matrix_that_moves_is_the_most_concentrated():
    one, even = np.eye(8)[:1], np.ones((1, 8))
    for metric in ("gini", "cv"):
        assert concentration(one, metric) > concentration(even, metric) == 0


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.floats(0, 1))
def test_a_split_is_a_partition_cut_by_score(scores, fraction):
    found = split(scores, fraction)
    assert sorted(found.sft + found.rl) == list(range(len(scores)))
    if found.sft and found.rl:
        assert max(scores[i] for i in found.sft) < min(scores[i] for i in found.rl)
    assert len(found.rl) <= np.ceil(fraction * len(scores))


def test_ties_go_to_sft_and_the_ends_mean_all():
    assert split([2.0, 2.0, 2.0]) == Split(sft=[0, 1, 2], rl=[])
    assert split([1.0, 3.0, 2.0]) == Split(sft=[0, 2], rl=[1])
    assert split([1.0, 1.0], rl_fraction=0) == Split(sft=[0, 1], rl=[])
    assert split([1.0, 1.0], rl_fraction=1) == Split(sft=[], rl=[0, 1])


def test_what_cannot_be_scored_is_never_routed_silently():
    scores = concentration(np.array([[1.0, 2.0, 4.0], [np.nan, np.nan, np.nan], [1.0, 1.0, 9.0]]))
    with pytest.raises(UserError, match="example 1 is not finite"):
        split(scores)
    assert split(scores, non_finite="exclude") == Split(sft=[0], rl=[2])


def test_errors():
    with pytest.raises(UserError, match="gini, kurtosis, cv, l2"):
        concentration(np.ones((1, 2)), "entropy")
    with pytest.raises(UserError, match="negative, at row 1"):
        concentration(np.array([[1.0, 2.0], [1.0, -2.0]]))
    with pytest.raises(UserError, match=r"rl_fraction is 1\.5"):
        split([1.0], 1.5)


def test_does_not_import_torch():
    """The split stage is a process of a fraction of a second; torch alone would take several."""
    code = (
        "import sys, numpy, encore.arbitration as a;"
        "a.arm('prism_gini').split(a.Context(2, columns={'norms': numpy.eye(2)}));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
