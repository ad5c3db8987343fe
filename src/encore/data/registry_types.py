"""What a source hands over: a pool, or a target with rows to select for and other rows to test on."""

from __future__ import annotations

from dataclasses import dataclass

from encore.data.cards import DataCard
from encore.data.instructions import Instruction
from encore.errors import UserError


@dataclass(frozen=True)
class Pool:
    """What may be trained on. Raises UserError if that is nothing."""

    name: str
    rows: list[Instruction]
    card: DataCard

    def __post_init__(self) -> None:
        if not self.rows:
            reason = f" ({self.card.notes})" if self.card.notes else ""
            raise UserError(f"pool {self.name} has no row{reason}: check data.path and data.pools")


@dataclass(frozen=True)
class Target:
    """What is to get better: `validation` steers a selection, `evaluation` is tested on; they share no question.

    Raises UserError if a part is empty, or a validation question is tested on.
    """

    name: str
    domain: str
    validation: list[Instruction]
    evaluation: list[Instruction]
    cards: list[DataCard]

    def __post_init__(self) -> None:
        if not self.validation or not self.evaluation:
            what = "validation" if not self.validation else "evaluation"
            raise UserError(f"target {self.name} has no {what} row: check data.path, data.shots and data.evaluation")
        tested = {row.question for row in self.evaluation}
        for row in self.validation:
            if row.question in tested:
                raise UserError(f"target {self.name}: validation row {row.id} is tested on too: take it out of one")
