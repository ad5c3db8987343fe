"""Panels: what is counted, with which interval, and when a panel is no result."""

from __future__ import annotations

import pytest

from encore import evaluation, rollout
from encore.errors import UserError
from encore.evaluation import EvaluationSettings, evaluate_panel, summarize
from encore.rollout import Episode, StopReason
from encore.statistics import wilson
from encore.tasks.alfworld import AlfworldSettings, AlfworldTasks


def row(won: bool, kind: str = "look", steps: int = 4, invalid: int = 1, reason: str = "won") -> dict:
    return {"won": won, "task_type": kind, "steps": steps, "invalid_actions": invalid, "stop_reason": reason}


def test_summary_counts_by_type_with_wilsons_interval():
    rows = [row(True), row(False, reason="step_limit"), row(True, "heat", steps=8), row(True, "heat")]
    summary = summarize(rows)
    assert summary["success"] == 0.75
    assert (summary["success/look"], summary["success/heat"]) == (0.5, 1.0)
    interval = wilson(3, 4)
    assert (summary["success_low"], summary["success_high"]) == (interval.low, interval.high)
    assert summary["invalid_share"] == 4 / 20
    assert summary["stop/step_limit"] == 0.25
    assert summarize([]) == {}


@pytest.fixture(scope="module")
def tasks() -> AlfworldTasks:
    return AlfworldTasks(AlfworldSettings())


def test_panels_are_fixed_and_disjoint_from_demonstrations(tasks):
    unseen, seen = tasks.panel("unseen", 20), tasks.panel("seen", 20)
    assert [game.id for game in unseen] == [game.id for game in tasks.panel("unseen", 30)[:20]]
    shown = {game.pddl_problem for game in tasks.demonstrations(60, seed=0)}
    assert not shown & {game.pddl_problem for game in [*unseen, *seen]}
    assert not {game.scene for game in tasks.demonstrations(60, seed=0)} & {game.scene for game in unseen}


def play(tasks, monkeypatch, episodes):
    monkeypatch.setattr(rollout, "collect", lambda *arguments, **settings: episodes)
    games = tasks.panel("unseen", len(episodes))
    return evaluate_panel(None, tasks, "unseen", games, EvaluationSettings(), max_steps=3, max_length=100)


def test_a_row_an_episode_in_the_panels_order(tasks, monkeypatch):
    won = Episode(["o", "p"], ["a"], [1.0], StopReason.WON, tokens_generated=3)
    lost = Episode(["o", "p", "q"], ["a", "b"], [0.0, 0.0], StopReason.STEP_LIMIT, invalid_actions=2)
    rows = play(tasks, monkeypatch, [won, lost])
    assert [row["id"] for row in rows] == [game.id for game in tasks.panel("unseen", 2)]
    assert [(row["won"], row["reward"], row["steps"], row["invalid_actions"]) for row in rows] == [
        (True, 1.0, 1, 0),
        (False, 0.0, 2, 2),
    ]


def test_failing_environments_are_no_result(tasks, monkeypatch):
    broken = Episode(["o"], stop_reason=StopReason.ENVIRONMENT_ERROR, error="RuntimeError: gone")
    with pytest.raises(UserError, match=r"1 of 2 environments of panel 'unseen' failed, the first in .*gone"):
        play(tasks, monkeypatch, [Episode(["o"], ["a"], [0.0], StopReason.STEP_LIMIT), broken])


@pytest.mark.parametrize("values", [{"temperature": -1.0}, {"batch_size": 0}])
def test_settings_are_checked(values):
    with pytest.raises(UserError, match="evaluation"):
        evaluation.EvaluationSettings(**values)
