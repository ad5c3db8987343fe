"""Local rows as tasks of lm-evaluation-harness: a YAML file a task, written at run time, over a JSONL file of rows.

What kind of task it is follows from the reference answers, so that one rule serves every target:

- a few labels (letters of choices, yes and no): `multiple_choice`, answered by the likeliest label; metric `acc`;
- a worked solution with its number after "####": `generate_until`, that number by `exact_match`;
- anything else: `generate_until`, the whole answer by `exact_match`, white space and case aside.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from encore.data import Instruction, write_instructions
from encore.errors import UserError

MOST_LABELS = 10
LONGEST_LABEL = 24
NUMBER = r"#### (\-?[0-9\.\,]+)"


@dataclass(frozen=True)
class TaskKind:
    """How rows are asked: `output_type` and `metric` of the harness, and the labels of a choice."""

    output_type: str
    metric: str
    labels: tuple[str, ...] = ()
    numbers: bool = False


def kind_of(rows: Sequence[Instruction]) -> TaskKind:
    """The kind that the reference answers imply. Raises UserError for no rows."""
    if not rows:
        raise UserError("there is no row to make a task of")
    answers = {row.response.strip() for row in rows}
    if all(re.fullmatch("[A-J]", answer) for answer in answers):
        shown = {letter for row in rows for letter in re.findall(r"^([A-J])\. ", row.prompt, re.MULTILINE)}
        return TaskKind("multiple_choice", "acc", tuple(sorted(answers | shown)))
    repeated = len(answers) <= min(MOST_LABELS, len(rows) // 2)
    if repeated and all(len(answer) <= LONGEST_LABEL and "\n" not in answer for answer in answers):
        return TaskKind("multiple_choice", "acc", tuple(sorted(answers)))
    return TaskKind("generate_until", "exact_match", numbers=all("####" in answer for answer in answers))


def write_task(folder: Path, name: str, rows: Sequence[Instruction], max_new_tokens: int = 256) -> TaskKind:
    """Writes `<name>.jsonl` and `<name>.yaml` into `folder`, which is then an `include_path` of the harness."""
    kind = kind_of(rows)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    write_instructions(file, rows)
    task: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file.resolve())}, "cache_dir": str((folder / "cache").resolve())},
        "test_split": "test",
        "output_type": kind.output_type,
        "doc_to_text": "{{prompt}}",
        "target_delimiter": "",
        "num_fewshot": 0,
        "metric_list": [{"metric": kind.metric, "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    if kind.labels:
        places = {label: place for place, label in enumerate(kind.labels)}
        task["doc_to_choice"] = list(kind.labels)
        task["doc_to_target"] = "{{" + f"{places!r}[response.strip()]" + "}}"
    else:
        task["doc_to_target"] = "{{response.split('####')[-1].strip()}}" if kind.numbers else "{{response.strip()}}"
        task["generation_kwargs"] = {"until": ["<|user|>"], "do_sample": False, "max_gen_toks": max_new_tokens}
        task["metric_list"][0] |= {"ignore_case": True, "regexes_to_ignore": [r"^\s+", r"\s+$", ","]}
        pattern = NUMBER if kind.numbers else r"(?s)^\s*(.*?)\s*$"
        first = [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}]
        task["filter_list"] = [{"name": "answer", "filter": first}]
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    return kind
