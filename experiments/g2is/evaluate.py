"""The test of fine-tuned models on targets: every example's outcome as a row; part of stage g2is.train."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore import data, tracking
from encore.statistics import mean_interval
from experiments.g2is.rows import tokenized
from experiments.g2is.settings import METRICS, RUNS, EvaluateSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from encore.trajectories import Example


class Tests:
    """The test rows of targets, read and tokenised once for all models of a process."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: EvaluateSettings, max_length: int) -> None:
        self.tokenizer, self.settings, self.max_length = tokenizer, settings, max_length
        self._read: dict[str, tuple[list[data.Instruction], list[Example]]] = {}

    def rows(self, target: str) -> tuple[list[data.Instruction], list[Example]]:
        """The rows of `target`, and as tokens."""
        if target not in self._read:
            rows = data.read_instructions(RUNS / "data" / target / "evaluation.jsonl")
            self._read[target] = rows, tokenized(rows, data.instruction_format(self.tokenizer), self.max_length)
        return self._read[target]

    def evaluate(self, run: tracking.Run, targets: Sequence[str], model: PreTrainedModel) -> None:
        """Adds the table `examples`, and by target the means with standard errors and by subtask, to `run`."""
        from encore.evaluation.answers import score_answers

        table = []
        for target in targets:
            rows, examples = self.rows(target)
            with run.phase("evaluate"):
                found = score_answers(model, examples, max_tokens=self.settings.max_tokens)
                columns = zip(rows, found.exact.tolist(), found.accuracy.tolist(), found.losses.tolist(), strict=True)
                scored: list[dict[str, Any]] = [
                    {"target": target, "id": row.id, "subtask": row.subtask}
                    | {"exact": exact, "accuracy": accuracy, "loss": loss}
                    for row, exact, accuracy, loss in columns
                ]
                if self.settings.by != "own":
                    folder = run.checkpoints / "tasks"
                    scored = _with_harness(scored, target, rows, model, self.tokenizer, self.settings, folder)
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
