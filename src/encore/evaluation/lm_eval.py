"""lm-evaluation-harness as the test of a model: its own tasks where there is a network, local rows where there is none.

The harness is the optional extra `evaluation`. Outcomes are kept example by example, for paired tests.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from encore.data import Instruction
from encore.errors import UserError
from encore.evaluation.local_tasks import write_task

HARNESS_TASKS: dict[str, tuple[str, str, int | None]] = {
    # target: (task of the harness, its metric, shots; None: the task's own)
    "bbh": ("bbh_cot_fewshot", "exact_match", None),
    "gpqa": ("gpqa_extended_zeroshot", "acc", None),
    "gsm8k": ("gsm8k_cot", "exact_match", None),
    "math": ("minerva_math", "exact_match", None),
    "mmlu": ("mmlu", "acc", 5),
}
"""What the tables of G2IS's targets are measured with here; which harness and settings the paper used is not known."""


@dataclass(frozen=True)
class TaskScore:
    """One target: the mean of its metric with the harness's standard error, and every example's outcome."""

    metric: str
    value: float
    standard_error: float | None
    outcomes: list[dict[str, Any]]
    """`id`, `subtask` and `score` (0 to 1) of each example, in the order of the data."""


def why_not() -> str | None:
    """Why the harness cannot be used here; None if it can."""
    if importlib.util.find_spec("lm_eval") is None:
        return "needs lm-evaluation-harness: pip install 'encore[evaluation]'"
    return None


def evaluate_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    targets: Mapping[str, Sequence[Instruction]],
    folder: Path,
    *,
    batch_size: int = 8,
    max_new_tokens: int = 256,
) -> dict[str, TaskScore]:
    """The harness on local rows, by target; task files and caches go to `folder`. Prompts take the chat template.

    Raises UserError where the harness is not installed or a target has no rows.
    """
    for name, rows in targets.items():
        write_task(folder, name, rows, max_new_tokens)
    found = _run(model, tokenizer, list(targets), folder, batch_size, {})
    scores = {}
    for name, rows in targets.items():
        scores[name] = _score(found, name, None, rows)
    return scores


def evaluate_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    targets: Sequence[str],
    *,
    batch_size: int = 8,
    limit: int | None = None,
) -> dict[str, TaskScore]:
    """The harness's own tasks for `targets` (names of `HARNESS_TASKS`), whose data come from the hub.

    Raises UserError for a target without such a task, where the harness is not installed, or without a network.
    """
    scores = {}
    for target in targets:
        if target not in HARNESS_TASKS:
            known = ", ".join(HARNESS_TASKS)
            raise UserError(f"lm-evaluation-harness has no task for target '{target}' here: choose from {known}")
        task, metric, shots = HARNESS_TASKS[target]
        options = {"limit": limit} | ({"num_fewshot": shots} if shots is not None else {})
        found = _run(model, tokenizer, [task], None, batch_size, options)
        scores[target] = _score(found, task, metric, None)
    return scores


def _run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: list[str],
    folder: Path | None,
    batch_size: int,
    options: dict[str, Any],
) -> dict[str, Any]:
    reason = why_not()
    if reason:
        raise UserError(f"this evaluation {reason}")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    # A folder alone: reading the harness's thousands of task files takes longer than a small test.
    manager = None if folder is None else TaskManager(include_path=str(folder), include_defaults=False)
    try:
        found = simple_evaluate(
            model=wrapped,
            tasks=tasks,
            task_manager=manager,
            apply_chat_template=bool(tokenizer.chat_template),
            log_samples=True,
            bootstrap_iters=0,
            **options,
        )
    except OSError as error:  # of the hub: no network, offline mode, a data set that is not there
        if folder is not None:
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"task {tasks[0]} of lm-evaluation-harness needs its data from the hub ({reason}): run with a network and "
            "without HF_HUB_OFFLINE, or set g2is.evaluate.by to own or lm_eval, which need neither"
        ) from error
    if found is None:
        raise UserError("lm-evaluation-harness gave no result in this process: evaluate in the first process only")
    return dict(found)


def _score(found: dict[str, Any], name: str, metric: str | None, rows: Sequence[Instruction] | None) -> TaskScore:
    results = found["results"][name]
    named = [key for key in results if "_stderr" not in key and "," in key]
    wanted = [key for key in named if metric is None or key.partition(",")[0] == metric]
    if not wanted:
        raise UserError(f"task {name} of lm-evaluation-harness has no metric {metric}: it has {', '.join(named)}")
    key = wanted[0]
    chosen, _, which = key.partition(",")
    members = {task: lines for task, lines in found["samples"].items() if rows is None or task == name}
    outcomes = []
    for task, lines in members.items():
        kept = [line for line in lines if line.get("filter", which) == which]
        for line in sorted(kept, key=lambda one: one["doc_id"]):
            about = {"id": f"{task}-{line['doc_id']}", "subtask": task}
            if rows is not None:
                row = rows[line["doc_id"]]
                about = {"id": row.id, "subtask": row.subtask}
            outcomes.append({**about, "score": float(line[chosen])})
    error = results.get(f"{chosen}_stderr,{which}")
    return TaskScore(chosen, float(results[key]), float(error) if isinstance(error, int | float) else None, outcomes)
