"""Agent panels: one policy plays all tasks of a panel in one batch, and every episode is a row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from encore import rollout, statistics
from encore.environments import Tasks
from encore.errors import UserError
from encore.evaluation.settings import EvaluationSettings

Row = dict[str, Any]


def evaluate_panel(
    policy: rollout.Policy,
    tasks: Tasks,
    panel: str,
    games: Sequence[Any],
    settings: EvaluationSettings,
    *,
    max_steps: int,
    max_length: int,
    seed: int = 0,
) -> list[Row]:
    """One row an episode, in the panel's order: what was played, how it ended, and what it took.

    Raises UserError if more than `max_error_share` of the environments failed; the first failure is named.
    """
    environments = [tasks.environment(game) for game in games]
    episodes = rollout.collect(
        policy,
        environments,
        max_steps=max_steps,
        max_length=max_length,
        max_action_tokens=settings.max_action_tokens,
        temperature=settings.temperature,
        seed=seed,
        batch_size=settings.batch_size,
    )
    rows = []
    for game, episode in zip(games, episodes, strict=True):
        rows.append(
            {
                "panel": panel,
                **tasks.describe(game),
                "won": episode.won,
                "reward": sum(episode.rewards),
                "steps": episode.steps,
                "stop_reason": str(episode.stop_reason),
                "invalid_actions": episode.invalid_actions,
                "unended_actions": episode.unended_actions,
                "tokens_generated": episode.tokens_generated,
                "error": episode.error,
                "actions": episode.actions,
            }
        )
    failed = [row for row in rows if row["error"]]
    if len(failed) > settings.max_error_share * len(rows):
        raise UserError(
            f"{len(failed)} of {len(rows)} environments of panel '{panel}' failed, the first in {failed[0]['id']}: "
            f"{failed[0]['error']}"
        )
    return rows


def summarize(rows: Sequence[Row]) -> dict[str, float]:
    """Success with its Wilson interval, overall and by task type, share of invalid actions, and stop reasons.

    All values are fractions of 1 but `steps`, a mean.
    """
    if not rows:
        return {}
    summary: dict[str, float] = {}
    by_type: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_type[row["task_type"]].append(row)
    for name, members in [("", list(rows)), *sorted(by_type.items())]:
        prefix = f"success/{name}" if name else "success"
        wins = sum(row["won"] for row in members)
        interval = statistics.wilson(wins, len(members))
        summary[prefix] = wins / len(members)
        if not name:
            summary["success_low"], summary["success_high"] = interval.low, interval.high
    steps = sum(row["steps"] for row in rows)
    summary["steps"] = steps / len(rows)
    summary["invalid_share"] = sum(row["invalid_actions"] for row in rows) / max(1, steps)
    for reason in rollout.StopReason:  # every one, so that a curve has no holes
        summary[f"stop/{reason}"] = sum(row["stop_reason"] == reason for row in rows) / len(rows)
    return summary
