"""Input that no selection can be made from is refused, in one line, before anything is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from encore.errors import UserError
from encore.selection import SelectionContext, gradient_walk, method
from encore.selection.selected import budget

POOL = [f"pool {place}" for place in range(12)]
TARGETS = [f"target {place}" for place in range(5)]


def rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32) + 0.3


def spoiled(value: float, place: int = 4) -> np.ndarray:
    found = rows(12)
    found[place] = value
    return found


def refused(message: str, function: Any, *arguments: Any, **fields: Any) -> None:
    with pytest.raises(UserError, match=message) as caught:
        function(*arguments, **fields)
    assert "\n" not in str(caught.value), "one line"


def context(**changes: Any) -> SelectionContext:
    fields: dict[str, Any] = {"pool_texts": POOL, "target_texts": TARGETS, "fraction": 0.5}
    return SelectionContext(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool_texts": []}, "the pool is empty"),
        ({"target_texts": []}, "there is no target example"),
        ({"target_texts": ["new", "pool 3"]}, "target example 1 is in the pool, as example 3"),
        ({"target_texts": ["  pool \n 3 "]}, "target example 0 is in the pool, as example 3"),
        ({"pool_texts": [*POOL, "pool 2"]}, "pool example 12 repeats example 2"),
        ({"fraction": 0}, "fraction is 0"),
        ({"fraction": -0.1}, "fraction is -0.1"),
        ({"fraction": 1.01}, "fraction is 1.01"),
        ({"fraction": float("nan")}, "fraction is nan"),
        ({"fraction": 0.01}, "is not one example"),
        ({"count": 0}, "count is 0"),
        ({"count": 13}, "count is 13"),
        ({"lengths": [1, 2]}, "lengths has 2 rows for 12 examples"),
        ({"losses": torch.ones(11)}, "losses has 11 rows for 12 examples"),
        ({"pool_prompts": ["a"]}, "pool_prompts has 1 rows"),
        ({"subtasks": ["a"]}, "subtasks has 1 rows for 5 examples"),
        ({"targets": ["a"] * 6}, "targets has 6 rows for 5 examples"),
        ({"pool_features": {"sgd": [rows(11)]}}, "pool features sgd of checkpoint 0 have 11 rows for 12 examples"),
        ({"target_features": {"sgd": [rows(5), rows(4)]}}, "target features sgd of checkpoint 1 have 4 rows"),
        ({"pool_features": {"sgd": [rows(12)]}, "target_features": {"sgd": [rows(5)[:, :4]]}}, "4 and 6 dimensions"),
        ({"pool_features": {"sgd": [np.ones(12)]}}, "not a matrix"),
    ],
)
def test_a_context_is_refused_when_it_is_made(changes, message):
    refused(message, context, **changes)


def test_one_pool_cannot_be_a_fraction_of_nothing():
    refused("the pool is empty", budget, 0, 0.5)
    refused("the pool is empty", gradient_walk, torch.ones(0, 6), rows(5), 0.5)


@pytest.mark.parametrize(
    ("of_pool", "of_targets", "message"),
    [
        ({"projector": {"seed": 0}}, {"projector": {"seed": 1}}, "different projectors"),
        ({"projector": {"seed": 0}}, {}, "different projectors"),
        ({"model": "a"}, {"model": "b"}, "different models"),
    ],
)
def test_stores_that_do_not_belong_together(store_of, of_pool, of_targets, message):
    pool, targets = store_of(rows(12), **of_pool), store_of(rows(5, 1), **of_targets)
    refused(message, context, pool_features={"less_code": [pool]}, target_features={"sgd": [targets]})
    if "projector" in message:
        refused(message, gradient_walk, pool, targets, 0.5)


@pytest.mark.parametrize("kept", ["numpy", "torch", "fp32", "fp16", "int8"])
@pytest.mark.parametrize(("value", "kind"), [(0.0, "zero"), (np.nan, "not finite"), (np.inf, "not finite")])
@pytest.mark.parametrize("name", ["g2is", "g2is_without_graph", "less"])
def test_a_gradient_that_no_training_gives(store_of, name, kept, value, kind):
    pool: Any = spoiled(value)
    pool = torch.from_numpy(pool) if kept == "torch" else pool if kept == "numpy" else store_of(pool, kept)
    features = {"pool_features": {"less_code": [pool]}, "target_features": {"sgd": [rows(5, 1)]}}
    refused(f"pool example 4.* is {kind}: drop the example", method(name).select, context(**features))
    features = {"pool_features": {"less_code": [rows(12)]}, "target_features": {"sgd": [spoiled(value)[:5]]}}
    refused(f"target example 4.* is {kind}: drop the example", method(name).select, context(**features))


@pytest.mark.parametrize("kept", ["numpy", "fp32", "fp16", "int8"])
def test_two_equal_gradients(store_of, kept):
    pool: Any = rows(12)
    pool[9] = pool[2]
    pool = pool if kept == "numpy" else store_of(pool, kept)
    refused("pool examples 2 and 9 have the same gradient", gradient_walk, pool, rows(5, 1), 0.5)


def test_rows_that_begin_alike_are_not_equal():
    pool = np.ones((3, 80), np.float32)
    pool[:, 70] = [1, 2, 3]
    targets = np.random.default_rng(0).normal(size=(4, 80))
    assert sorted(gradient_walk(pool, targets, 1.0)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (rows(1), {}, "do not differ"),
        (np.repeat(rows(1), 4, 0), {}, "do not differ"),
        (rows(2), {"pca_mode": "count_ratio"}, "fewer target examples than components"),
        (rows(5), {"variance": 0.0}, "variance is 0.0"),
        (rows(5), {"variance": 1.0}, "variance is 1.0"),
        (rows(5), {"pca_mode": "half"}, "pca_mode is 'half'"),
        (rows(5), {"sign": "plus"}, "sign is 'plus'"),
        (rows(5), {"delta": 1.1}, "delta is 1.1"),
        (rows(5), {"delta": float("nan")}, "delta is nan"),
        (rows(5), {"neighbours": -1}, "neighbours is -1"),
        (rows(5), {"consistency": "square"}, "consistency is 'square'"),
    ],
)
def test_targets_and_options(targets, options, message):
    refused(message, gradient_walk, rows(12, 2), targets, 0.5, **options)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"checkpoint": 1}, "checkpoint is 1"),
        ({"checkpoint": "last"}, "checkpoint is 'last'"),
        ({"search": "annoy"}, "search is 'annoy'"),
        ({"delta": 2}, "delta is 2"),
    ],
)
def test_parameters_of_g2is(parameters, message):
    features = {"pool_features": {"less_code": [rows(12)]}, "target_features": {"sgd": [rows(5, 1)]}}
    refused(message, method("g2is").select, context(**features, parameters=parameters))


def test_scores_that_are_no_numbers():
    losses = torch.ones(12)
    losses[3] = torch.nan
    refused("loss of pool example 3 is not finite", method("perplexity").select, context(losses=losses))
    refused("centre is 2", method("perplexity").select, context(losses=torch.ones(12), parameters={"centre": 2}))


def test_a_union_needs_names():
    refused("no targets", method("random").select, context(parameters={"multi_target": "union"}))
