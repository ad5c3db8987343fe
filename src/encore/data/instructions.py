"""One instruction and its answer: the row that pools and targets of every source are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from encore.chat import ChatFormat, chat_format
from encore.errors import UserError
from encore.trajectories import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Base models have no chat template; LESS and open-instruct train them in this one.
TULU_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message.role + '|>\n' + message.content -}}"
    "{{- eos_token + '\n' if message.role == 'assistant' else '\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class Instruction:
    """`family` is the data set or task family it comes from, `subtask` the part of a target that LESS averages over."""

    id: str
    prompt: str
    response: str
    family: str
    subtask: str = ""

    @property
    def text(self) -> str:
        """Prompt and response, as text-based selections compare them."""
        return f"{self.prompt}\n{self.response}"

    @property
    def question(self) -> str:
        """The prompt with its white space evened out: rows of equal questions ask the same."""
        return " ".join(self.prompt.split())


def write_instructions(path: Path, rows: Iterable[Instruction]) -> None:
    """One JSON object a line."""
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        for row in rows:
            lines.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


def read_instructions(path: Path) -> list[Instruction]:
    """Reads what `write_instructions` wrote. Raises UserError naming the line that is damaged, or the missing file."""
    rows: list[Instruction] = []
    try:
        with path.open("rb") as lines:  # bytes end a line at "\n" alone; a text may hold others, U+2028 say
            for line in lines:
                row = Instruction(**json.loads(line.decode()))
                if not all(isinstance(value, str) for value in asdict(row).values()):
                    raise TypeError("a field is no text")
                rows.append(row)
    except FileNotFoundError as error:
        raise UserError(f"{path} is not here: run the stage that makes the data first") from error
    except (ValueError, TypeError) as error:  # no JSON, no UTF-8; no object, or one of other fields
        reason = " ".join(str(error).split())
        raise UserError(f"{path}, line {len(rows) + 1} is no instruction ({reason}): make the file again") from error
    return rows


def instruction_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """The tokenizer's chat format; the Tulu format for a base model, whose tokenizer then keeps that template."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = TULU_TEMPLATE
    return chat_format(tokenizer)


def tokenize_instruction(row: Instruction, chat: ChatFormat, max_length: int) -> Example | None:
    """Tokens and response mask in the model's chat format, cut at `max_length` from the right, as LESS cuts.

    None where the prompt alone fills the context: nothing of the answer would be learned.
    """
    prompt, response = chat.first(row.prompt), chat.action(row.response)
    if len(prompt) >= max_length:
        return None
    response = response[: max_length - len(prompt)]
    return Example(row.id, prompt + response, [0] * len(prompt) + [1] * len(response))
