"""Rows of a pool or target as tokens, for every stage that shows them to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from encore import data
from encore.data import Instruction
from encore.errors import UserError

if TYPE_CHECKING:
    from encore.chat import ChatFormat
    from encore.trajectories import Example


def tokenized(rows: Sequence[Instruction], chat: ChatFormat, max_length: int) -> list[Example]:
    """Every row. Raises UserError for one that does not fit; the data stage left only rows that do."""
    examples = []
    for row in rows:
        example = data.tokenize_instruction(row, chat, max_length)
        if example is None:
            raise UserError(f"row {row.id} does not fit into {max_length} tokens: run g2is.data again")
        examples.append(example)
    return examples
