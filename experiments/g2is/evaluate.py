"""The test of a fine-tuned model on one target: every example's outcome as a row; part of stage g2is.train."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from encore import data, tracking
from encore.evaluation.answers import score_answers
from encore.statistics import mean_interval
from experiments.g2is.rows import tokenized
from experiments.g2is.settings import RUNS, EvaluateSettings

METRICS = ("exact", "accuracy", "loss")


def evaluate(
    run: tracking.Run,
    targets: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: EvaluateSettings,
    max_length: int,
) -> None:
    """Adds the table `examples`, and by target the means with standard errors and by subtask, to `run`."""
    chat = data.instruction_format(tokenizer)
    table = []
    for target in targets:
        rows = data.read_instructions(RUNS / "data" / target / "evaluation.jsonl")
        examples = tokenized(rows, chat, max_length)
        with run.phase("evaluate"):
            answers = score_answers(model, examples, max_tokens=settings.max_tokens)
            columns = zip(rows, answers.exact.tolist(), answers.accuracy.tolist(), answers.losses.tolist(), strict=True)
            scored: list[dict[str, Any]] = [
                {"target": target, "id": row.id, "subtask": row.subtask}
                | {"exact": exact, "accuracy": accuracy, "loss": loss}
                for row, exact, accuracy, loss in columns
            ]
            if settings.by != "own":
                scored = _with_harness(scored, target, rows, model, tokenizer, settings, run.checkpoints / "tasks")
        run.count(flops=tracking.flops(model.config, sum(map(len, examples)), training=False))
        run.result({target: summarize(scored)})
        table += scored
    run.table("examples", table)


def _with_harness(
    scored: list[dict[str, Any]],
    target: str,
    rows: Sequence[data.Instruction],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: EvaluateSettings,
    folder: Path,
) -> list[dict[str, Any]]:
    """The same with `exact` from lm-evaluation-harness: of these rows, or of the harness's own task (more rows)."""
    from encore.evaluation import lm_eval

    if settings.by == "lm_eval_tasks" and target in lm_eval.HARNESS_TASKS:
        found = lm_eval.evaluate_tasks(model, tokenizer, [target], batch_size=settings.batch_size)[target]
        own = [{key: value for key, value in row.items() if key != "exact"} for row in scored]
        theirs = [
            {"target": target, "id": one["id"], "subtask": one["subtask"], "exact": one["score"]}
            for one in found.outcomes
        ]
        return own + theirs
    found = lm_eval.evaluate_rows(
        model,
        tokenizer,
        {target: rows},
        folder,
        batch_size=settings.batch_size,
        max_new_tokens=settings.max_new_tokens,
    )[target]
    return [{**row, "exact": one["score"]} for row, one in zip(scored, found.outcomes, strict=True)]


def summarize(table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard error over examples of every metric, and means by subtask."""
    summary: dict[str, Any] = {}
    for metric in METRICS:
        rows = [row for row in table if metric in row]
        by_subtask: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            by_subtask[row["subtask"]].append(row[metric])
        found = mean_interval([row[metric] for row in rows])
        summary[metric] = found.mean
        summary[f"{metric}_standard_error"] = found.sem
        for name, values in by_subtask.items():
            summary[f"{metric}/{name}"] = sum(values) / len(values)
    return summary
