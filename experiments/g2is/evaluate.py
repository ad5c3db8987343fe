"""The test of a fine-tuned model on one target: every example's outcome as a row; part of stage g2is.train."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from encore import data, tracking
from encore.chat import ChatFormat
from encore.evaluation.answers import score_answers
from encore.policy import PolicySettings
from encore.statistics import mean_interval
from experiments.g2is.rows import tokenized
from experiments.g2is.settings import RUNS

METRICS = ("exact", "accuracy", "loss")


def evaluate(
    run: tracking.Run,
    targets: Sequence[str],
    model: PreTrainedModel,
    chat: ChatFormat,
    policy: PolicySettings,
    max_tokens: int,
) -> None:
    """Adds the table `examples`, and by target the means with standard errors and by subtask, to `run`."""
    table = []
    for target in targets:
        rows = data.read_instructions(RUNS / "data" / target / "evaluation.jsonl")
        examples = tokenized(rows, chat, policy.max_length)
        with run.phase("evaluate"):
            answers = score_answers(model, examples, max_tokens=max_tokens)
        run.count(flops=tracking.flops(model.config, sum(map(len, examples)), training=False))
        columns = zip(rows, answers.exact.tolist(), answers.accuracy.tolist(), answers.losses.tolist(), strict=True)
        scored = [
            {
                "target": target,
                "id": row.id,
                "subtask": row.subtask,
                "exact": exact,
                "accuracy": accuracy,
                "loss": loss,
            }
            for row, exact, accuracy, loss in columns
        ]
        run.result({target: summarize(scored)})
        table += scored
    run.table("examples", table)


def summarize(table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard error over examples of every metric, and means by subtask."""
    by_subtask: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table:
        by_subtask[row["subtask"]].append(row)
    summary: dict[str, Any] = {}
    for metric in METRICS:
        found = mean_interval([row[metric] for row in table])
        summary[metric] = found.mean
        summary[f"{metric}_standard_error"] = found.sem
        for name, members in by_subtask.items():
            summary[f"{metric}/{name}"] = sum(row[metric] for row in members) / len(members)
    return summary
