"""Evaluation of policies: panels of episodes, every outcome kept. What plays is imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encore.evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    from encore.evaluation.panels import evaluate_panel, summarize

__all__ = ["EvaluationSettings", "evaluate_panel", "summarize"]


def __getattr__(name: str) -> Any:
    if name in ("evaluate_panel", "summarize"):
        from encore.evaluation import panels

        return getattr(panels, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
