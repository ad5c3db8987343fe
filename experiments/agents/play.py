"""A policy on every panel of an environment, recorded in a run."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from encore import tracking
from encore.chat import ChatFormat
from encore.environments import Tasks
from encore.evaluation import EvaluationSettings, evaluate_panel, summarize
from encore.rollout import TransformersPolicy


def play_panels(
    run: tracking.Run,
    model: PreTrainedModel,
    chat: ChatFormat,
    tasks: Tasks,
    name: str,
    section: dict[str, Any],
    settings: EvaluationSettings,
    max_length: int,
    seed: int,
) -> None:
    """Plays the panels of `section`, the environment's part of params.yaml; episodes, summary and costs go to `run`."""
    rows = []
    for panel, number in section["panels"].items():
        games = tasks.panel(panel, number)
        run.dataset(f"{name}-{panel}", [tasks.describe(game) for game in games], source=name, context="test")
        with run.phase("evaluate"):
            played = evaluate_panel(
                TransformersPolicy(model, chat),
                tasks,
                panel,
                games,
                settings,
                max_steps=section["max_steps"],
                max_length=max_length,
                seed=seed,
            )
        score = sum(row["reward"] for row in played) / len(played)
        run.result({panel: {**summarize(played), "score": score}})
        rows += played
    generated = sum(row["tokens_generated"] for row in rows)
    run.count(
        tokens_generated=generated,
        environment_steps=sum(row["steps"] for row in rows),
        flops=tracking.flops(model.config, generated, training=False),
    )
    run.table("episodes", rows)
