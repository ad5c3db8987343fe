"""Numbers of a batch: every stop reason has its key, shares are of all actions."""

from __future__ import annotations

import pytest

from encore import rollout
from encore.evaluation import summarize
from encore.rollout import Episode, StopReason, Turn


def test_metrics_count_episodes_and_actions():
    turns = [Turn([1], [2], [0.0], False)]
    episodes = [
        Episode(["o"] * 3, ["a", "b"], [0.0, 1.0], StopReason.WON, invalid_actions=1, tokens_generated=6),
        Episode(["o"] * 3, ["a", "b"], [0.5, 0.0], StopReason.STEP_LIMIT, unended_actions=2, tokens_generated=4),
        # An answer without an action that no environment has seen is one of the five actions all the same.
        Episode(["o"], stop_reason=StopReason.PARSE_ERROR, parse_errors=1, invalid_actions=1, turns=turns),
    ]
    found = rollout.metrics(episodes)
    assert found["success"] == pytest.approx(1 / 3)
    assert found["return"] == pytest.approx(0.5)
    assert found["steps"] == pytest.approx(4 / 3)
    assert found["tokens"] == pytest.approx(10 / 3)
    assert found["parse_errors"] == pytest.approx(1 / 3)
    assert (found["invalid_share"], found["unended_share"]) == (2 / 5, 2 / 5)
    reasons = {name.removeprefix("stop/"): value for name, value in found.items() if name.startswith("stop/")}
    assert set(reasons) == {str(reason) for reason in StopReason}
    assert sum(reasons.values()) == pytest.approx(1)
    assert reasons["context_full"] == 0.0
    assert all(isinstance(value, float) for value in found.values())


def test_no_episodes_have_no_numbers():
    assert rollout.metrics([]) == {}


def test_an_evaluations_summary_has_every_stop_reason_too():
    row = {"won": True, "task_type": "look", "steps": 1, "invalid_actions": 0, "stop_reason": "won"}
    assert {f"stop/{reason}" for reason in StopReason} <= set(summarize([row]))
