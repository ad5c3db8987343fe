"""Every method there is, found as the pipeline finds it: a new file in the folder is tested by being there."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from encore.errors import UserError
from encore.selection import Method, Selection, SelectionContext, method, names
from encore.selection.registry import Plugin

N, TARGETS = 40, 8
GRADIENTS = ("g2is", "g2is_without_graph", "less")
CHANCE = ("random", "dsir")


def embed(texts):
    """Words hashed to 12 numbers, the same in every process."""
    rows = torch.zeros(len(texts), 12)
    for row, text in zip(rows, texts, strict=True):
        for word in text.split():
            row[sum(word.encode()) % 12] += 1
    return rows + 0.01


def context(**changes: Any) -> SelectionContext:
    """All that a method may ask for, at random but always the same; two targets, each of two subtasks."""
    random = np.random.default_rng(11)
    words = np.array([f"w{place}" for place in range(30)])
    texts = [" ".join(random.choice(words, random.integers(4, 12))) + f" n{place}" for place in range(N + TARGETS)]
    pool = [random.normal(size=(N, 16)).astype(np.float32) + 0.4 for _ in range(2)]
    targets = [random.normal(size=(TARGETS, 16)).astype(np.float32) + 0.4 for _ in range(2)]
    fields: dict[str, Any] = {
        "pool_texts": texts[:N],
        "target_texts": texts[N:],
        "pool_prompts": [text[:20] for text in texts[:N]],
        "target_prompts": [text[:20] for text in texts[N:]],
        "fraction": 0.25,
        "seed": 3,
        "pool_features": {kind: pool for kind in ("less_code", "paper", "sgd")},
        "target_features": {"sgd": targets},
        "checkpoint_weights": [2e-5, 1e-5],
        "subtasks": ["a", "a", "b", "b"] * 2,
        "targets": ["maths"] * 4 + ["law"] * 4,
        "lengths": random.integers(5, 90, N).tolist(),
        "losses": torch.from_numpy(random.gamma(2.0, size=N)),
        "pool_representations": random.normal(size=(N, 9)),
        "target_representations": random.normal(size=(TARGETS, 9)),
        "embeddings": embed,
        "pool_families": ["sums", "verses"] * (N // 2),
        "target_families": ["sums"] * TARGETS,
    }
    return SelectionContext(**fields | changes)


def check(found: Selection, given: SelectionContext, name: str) -> None:
    assert isinstance(found, Selection)
    assert len(set(found.indices)) == len(found.indices), "each once"
    assert all(type(place) is int and 0 <= place < N for place in found.indices)
    assert found.indices, "something was chosen"
    if name != "full":
        assert len(found.indices) <= given.budget
    assert found.requested == given.budget
    assert found.seconds > 0
    assert len(found.reasons) == len(found.indices)
    assert all(reason for reason in found.reasons), "each pick has its reason"
    json.dumps([found.reasons, found.parameters], allow_nan=False)


@pytest.mark.parametrize("name", names())
def test_every_method(name):
    found = method(name)
    assert isinstance(found, Method)
    assert isinstance(found.plugin, Plugin)
    assert found.name == name, "the file's name is the method's"
    assert found.label
    given = context()
    assert found.skip(given) is None
    first = found.select(given)
    check(first, given, name)
    assert found.select(given).indices == first.indices, "the same for the same context"
    assert found.select(context()).indices == first.indices
    assert first.parameters["multi_target"] == "pooled"


@pytest.mark.parametrize("name", names())
def test_only_chance_depends_on_the_seed(name):
    draws = [tuple(method(name).select(context(seed=seed)).indices) for seed in range(4)]
    assert (len(set(draws)) > 1) == (name in CHANCE)


@pytest.mark.parametrize("name", names())
def test_what_is_excluded_is_not_chosen(name):
    first = method(name).select(context())
    gone = frozenset(first.indices[:3])
    assert not gone & set(method(name).select(context(excluded=gone)).indices)


@pytest.mark.parametrize("name", names())
def test_a_union_serves_each_target_in_turn(name):
    given = context(parameters={"multi_target": "union"})
    found = method(name).select(given)
    check(found, given, name)
    assert found.parameters["multi_target"] == "union"
    by_target = [reason["target"] for reason in found.reasons]
    if name == "full":
        return
    assert set(by_target) == {"maths", "law"}
    assert by_target == sorted(by_target, reverse=True), "in order of appearance: maths, then law"
    assert all(by_target.count(target) <= 5 for target in ("maths", "law")), "10 in equal shares"
    if name in (*GRADIENTS, "bm25", "sentence_bert", "rds"):
        alone = context(
            target_texts=given.target_texts[:4],
            target_prompts=given.target_prompts[:4],
            target_families=given.target_families[:4],
            target_features={"sgd": [one[:4] for one in given.target_features["sgd"]]},
            target_representations=given.target_representations[:4],
            subtasks=given.subtasks[:4],
            targets=[],
            count=5,
        )
        mine = [place for place, target in zip(found.indices, by_target, strict=True) if target == "maths"]
        assert mine == method(name).select(alone).indices, "the first target's share is what it would choose alone"


@pytest.mark.parametrize("name", names())
def test_refuses_what_it_does_not_know(name):
    for parameters, message in (
        ({"no_such": 1}, "unknown selection parameter 'no_such'"),
        ({"multi_target": "both"}, "multi_target is 'both'"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            method(name).select(context(parameters=parameters))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", names())
def test_says_what_it_lacks(name):
    """With texts alone a method chooses, or gives its reason in `skip` and, in one line, in `select`."""
    given = context(
        pool_features={}, target_features={}, lengths=None, losses=None, pool_representations=None,
        target_representations=None, embeddings=None, pool_families=None, target_families=None,
    )  # fmt: skip
    reason = method(name).skip(given)
    assert (reason is None) == (name in ("bm25", "dsir", "full", "random"))
    if reason is None:
        check(method(name).select(given), given, name)
        return
    assert reason.startswith("needs ")
    with pytest.raises(UserError, match=f"{name} needs") as caught:
        method(name).select(given)
    assert "\n" not in str(caught.value)


def test_names_are_those_of_the_issue():
    wanted = (
        "g2is g2is_without_graph g2is_without_gradient less sentence_bert bm25 dsir rds perplexity length random full"
    )
    assert names() == sorted(wanted.split())


def test_an_oracle_draws_from_the_targets_families_alone():
    given = context(parameters={"within": "target_families"})
    found = method("random").select(given)
    check(found, given, "random")
    assert {given.pool_families[place] for place in found.indices} == {"sums"}
    assert found.indices != method("random").select(given.changed(seed=4)).indices
    whole = method("random").select(given.changed(fraction=1.0))
    assert sorted(whole.indices) == list(range(0, N, 2)), "all there are of them, however many are asked for"
    other = context(parameters={"within": "target_families"}, target_families=["prose"] * TARGETS)
    assert method("random").skip(other) == "needs a family that pool and targets share"


def test_an_unknown_method():
    with pytest.raises(UserError, match="unknown selection method 'lesss': choose from bm25, "):
        method("lesss")


# --- the open choices of gradient methods ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"neighbours": 2}, {"delta": 1.0}, {"variance": 0.9}, {"pca_mode": "count"}, {"centred": False},
        {"sign": "mean"}, {"checkpoint": 0}, {"checkpoint": "all"}, {"unit_targets": True},
    ],
    ids=str,
)  # fmt: skip
def test_each_open_choice_of_g2is_is_recorded_and_matters(change):
    several = {"variance": 0.95}  # components, of both signs
    base = method("g2is").select(context(fraction=0.5, parameters=several))
    found = method("g2is").select(context(fraction=0.5, parameters=several | change))
    assert found.parameters.items() >= change.items()
    assert base.parameters.keys() == found.parameters.keys(), "defaults are recorded as well"
    assert found.indices != base.indices


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_reading_of_adam_names_the_features(name):
    given = context()
    other = [pool[::-1].copy() for pool in given.pool_features["sgd"]]
    kinds = {**given.pool_features, "paper": other}
    first = method(name).select(context(pool_features=kinds))
    second = method(name).select(context(pool_features=kinds, parameters={"adam": "paper"}))
    assert second.parameters["adam"] == "paper"
    assert [N - 1 - place for place in second.indices] == first.indices, "rows in reverse, places in reverse"
    with pytest.raises(UserError, match="needs pool features of kind 'adamw'"):
        method(name).select(context(parameters={"adam": "adamw"}))


def test_all_checkpoints_at_equal_features_are_one():
    given = context()
    one = {"pool_features": {"less_code": given.pool_features["less_code"][:1] * 2}}
    one["target_features"] = {"sgd": given.target_features["sgd"][:1] * 2}
    wanted = method("g2is").select(context(**one, parameters={"checkpoint": 0}))
    found = method("g2is").select(context(**one, parameters={"checkpoint": "all"}))
    assert found.indices == wanted.indices


def test_less_names_the_subtask_it_helps():
    given = context()
    found = method("less").select(given)
    assert {reason["subtask"] for reason in found.reasons} <= {"a", "b"}
    scores = [reason["score"] for reason in found.reasons]
    assert scores == sorted(scores, reverse=True)


def test_a_count_stands_over_the_fraction():
    assert len(method("less").select(context(count=7)).indices) == 7


def test_stores_give_what_their_rows_give(store_of):
    given = context()
    pool = [
        store_of(one, "fp32", projector="p", model=f"m{place}") for place, one in enumerate(given.pool_features["sgd"])
    ]
    targets = [
        store_of(one, "fp32", projector="p", model=f"m{place}")
        for place, one in enumerate(given.target_features["sgd"])
    ]
    for name in GRADIENTS:
        for how in ("pooled", "union"):
            wanted = method(name).select(context(parameters={"multi_target": how}))
            found = method(name).select(
                context(
                    pool_features={"less_code": pool},
                    target_features={"sgd": targets},
                    parameters={"multi_target": how},
                )
            )
            assert found.indices == wanted.indices
