"""Rows of a benchmark: a prompt, the reference answer, and what else it takes to learn and to check an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from encore.benchmarks.constraints import Constraint
from encore.data import DataCard, Instruction
from encore.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        task_type: a kind of question within the benchmark, as a language pair.
        thought: a worked way to the reference, where the data have one; procedural data do.
        constraints: what an answer must satisfy, for benchmarks that are checked so.
    """

    id: str
    prompt: str
    reference: str
    task_type: str = ""
    thought: str = ""
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise UserError(f"row {self.id} has no prompt: take it out, or fetch the data again")
        if not self.reference.strip():
            raise UserError(f"row {self.id} has no reference answer: take it out, or fetch the data again")

    @property
    def question(self) -> str:
        """The prompt with its white space evened out: rows of equal questions ask the same."""
        return " ".join(self.prompt.split())

    @property
    def solution(self) -> str:
        """What supervised fine-tuning imitates: the thought, where there is one, and the reference in their tags."""
        answer = f"<answer>{self.reference}</answer>"
        return f"<think>{self.thought}</think>{answer}" if self.thought else answer


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as it is used: its rows by split and their data cards.

    `metric` names a function of `encore.evaluation.metrics`; `judged` says what the paper measures instead.
    Raises UserError for an empty test split or an id that stands twice.
    """

    name: str
    kind: str
    metric: str
    train: list[Item]
    validation: list[Item]
    test: list[Item]
    cards: list[DataCard] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.test:
            raise UserError(f"benchmark {self.name} has no test row: check benchmarks.path and benchmarks.test")
        seen: set[str] = set()
        for item in (*self.train, *self.validation, *self.test):
            if item.id in seen:
                raise UserError(f"benchmark {self.name} has two rows {item.id}: fetch the data again")
            seen.add(item.id)

    def split(self, name: str) -> list[Item]:
        """The rows of train, validation or test. Raises UserError where the source has none of that split."""
        rows: list[Item] = getattr(self, name)
        if not rows:
            raise UserError(
                f"benchmark {self.name} has no {name} rows from this source: take another source "
                "(maestro.benchmarks.source), or leave the benchmark out of maestro.benchmarks.names"
            )
        return rows


def card(benchmark: str, split: str, rows: Sequence[Item], **about: str) -> DataCard:
    """The data card of one split; its families are task types."""
    as_instructions = [Instruction(row.id, row.prompt, row.reference, row.task_type or benchmark) for row in rows]
    return DataCard.of(benchmark, split, as_instructions, **about)


def write_items(path: Path, rows: Iterable[Item]) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        for row in rows:
            lines.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


def read_items(path: Path) -> list[Item]:
    """Reads what `write_items` wrote. Raises UserError naming the damaged line, or the missing file."""
    rows: list[Item] = []
    try:
        with path.open("rb") as lines:
            for line in lines:
                content = json.loads(line.decode())
                content["constraints"] = tuple(Constraint(**one) for one in content.pop("constraints"))
                rows.append(Item(**content))
    except FileNotFoundError as error:
        raise UserError(f"{path} is not here: run the stage that makes the data first") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}, line {len(rows) + 1} is no item ({error}): make the file again") from error
    return rows
