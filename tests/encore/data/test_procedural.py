"""Procedural pools and targets: the same everywhere for a seed, and no question in two of them."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations

import pytest

from encore.data import DataSettings, content_digest, pool, target, target_names
from encore.data.procedural import FAMILIES, TARGETS
from encore.errors import UserError


def settings(**changes):
    return DataSettings(**{"pool_size": 200, "shots": 4, "evaluation": 10, **changes})


def questions(rows):
    return {row.question for row in rows}


@pytest.fixture(scope="module")
def made():
    targets = {name: target(name, settings()) for name in target_names("procedural")}
    return targets, pool(settings(), list(targets.values()))[0]


def test_pool_is_equal_parts_of_twenty_families(made):
    _, found = made
    assert found.card.families == dict.fromkeys(FAMILIES, 10)
    assert len(FAMILIES) == 20
    assert len(questions(found.rows)) == len({row.id for row in found.rows}) == 200
    assert all(row.prompt == row.prompt.strip() and row.response for row in found.rows)


def test_targets_are_exams_over_three_families(made):
    targets, _ = made
    assert len(targets) == 3
    for name, found in targets.items():
        for rows, each in ((found.validation, 4), (found.evaluation, 10)):
            counts = {family: sum(row.subtask == row.family == family for row in rows) for family in TARGETS[name]}
            assert counts == dict.fromkeys(TARGETS[name], each)
        assert set(TARGETS[name]) <= set(FAMILIES), "what helps is in the pool"
    for one, other in combinations(TARGETS.values(), 2):
        assert not set(one) & set(other)


def test_no_question_is_in_two_places(made):
    targets, found = made
    parts = [found.rows, *(rows for one in targets.values() for rows in (one.validation, one.evaluation))]
    for one, other in combinations(parts, 2):
        assert not questions(one) & questions(other)


def test_pool_gives_way_to_what_is_held_out(made):
    """Not by luck: were its own first rows tested on, other rows would take their place."""
    from encore.data import procedural

    _, found = made
    again = procedural.pool(200, 0, without=found.rows)
    assert not questions(again.rows) & questions(found.rows)
    assert again.card.families == found.card.families


def test_seed_is_all_that_decides(made):
    targets, found = made
    for name, one in targets.items():
        assert target(name, settings()) == one
        assert questions(target(name, settings(seed=1)).evaluation) != questions(one.evaluation)
    assert pool(settings(), list(targets.values()))[0] == found
    other, _ = pool(settings(seed=1), list(targets.values()))
    assert len(questions(other.rows) & questions(found.rows)) < 100


def test_another_process_makes_the_same(made):
    """The order of Python's sets differs there."""
    targets, found = made
    program = (
        "from encore.data import DataSettings, pool, target, target_names\n"
        "s = DataSettings(pool_size=200, shots=4, evaluation=10)\n"
        "targets = [target(name, s) for name in target_names('procedural')]\n"
        "print(pool(s, targets)[0].card.sha256, *[card.sha256 for one in targets for card in one.cards])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    cards = [found.card, *(card for one in targets.values() for card in one.cards)]
    assert output.stdout.split() == [card.sha256 for card in cards]


def test_cards_are_of_the_rows(made):
    targets, found = made
    assert found.card.sha256 == content_digest(found.rows)
    for one in targets.values():
        roles = {card.role: card.sha256 for card in one.cards}
        expected = {"validation": content_digest(one.validation), "evaluation": content_digest(one.evaluation)}
        assert roles == expected
        assert all(card.licence and "reasoning-gym" in card.revision for card in one.cards)


def test_refusals():
    with pytest.raises(UserError, match=r"'algebra' is not to be had from source procedural: choose from logic"):
        target("algebra", settings())
    with pytest.raises(UserError, match="pool 'cot' is not to be had from source procedural"):
        pool(settings(pools=["cot"]), [])
    with pytest.raises(UserError, match="pool_size is 30: the 20 families"):
        pool(settings(pool_size=30), [])
    with pytest.raises(UserError, match="family count_primes has no 900 new questions for the evaluation"):
        target("number_theory", settings(evaluation=900))
