"""Evaluation of policies: panels of episodes, every outcome kept."""

from encore.evaluation.panels import EvaluationSettings, evaluate_panel, summarize

__all__ = ["EvaluationSettings", "evaluate_panel", "summarize"]
