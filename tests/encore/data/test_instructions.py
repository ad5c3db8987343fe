"""Rows and their files, tokens and cards: what was written is read again, and a card says what the rows are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from encore.data import (
    DataCard,
    Instruction,
    content_digest,
    instruction_format,
    read_instructions,
    tokenize_instruction,
    write_instructions,
)
from encore.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
ROWS = [
    Instruction("a", "2 + 2 =", "4", "sums"),
    Instruction("b", "Capital of Peru?", "Lima", "places", subtask="peru"),
    Instruction("c", "3 + 2 =", "5", "sums"),
]
ABOUT = {"licence": "MIT", "source": "a test", "revision": "1"}


@given(rows=st.lists(st.builds(Instruction, *[st.text()] * 5), max_size=4))
def test_files_give_back_what_was_written(tmp_path_factory, rows):
    """Whatever the texts hold: U+2028 and U+0085, say, end a line for `str.splitlines`."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_instructions(path, rows)
    assert read_instructions(path) == rows


def test_line_separators_inside_a_text_are_text(tmp_path):
    rows = [Instruction("a", "one\u2028two\u0085three\x0b", "\r\n", "f"), ROWS[0]]
    write_instructions(tmp_path / "rows.jsonl", rows)
    assert read_instructions(tmp_path / "rows.jsonl") == rows


@pytest.mark.parametrize(
    "damaged",
    [b"{", b"[1]", b'{"id": "a"}', b"\xff\xfe", b'{"id": "a", "prompt": 5, "response": "b", "family": "c"}'],
    ids=["cut", "no object", "fields missing", "no text", "a number"],
)
def test_a_damaged_line_is_named(tmp_path, damaged):
    path = tmp_path / "rows.jsonl"
    write_instructions(path, ROWS[:1])
    path.write_bytes(path.read_bytes() + damaged + b"\n")
    with pytest.raises(UserError, match=r"^[^\n]*line 2 is no instruction[^\n]*$"):
        read_instructions(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"rows\.jsonl is not here"):
        read_instructions(tmp_path / "rows.jsonl")


def test_a_card_says_what_the_rows_are():
    card = DataCard.of("mixed", "pool", ROWS, **ABOUT)
    assert (card.examples, card.families) == (3, {"places": 1, "sums": 2})
    assert card.sha256 == content_digest(ROWS)
    assert DataCard(**json.loads(json.dumps(card.as_dict()))) == card
    for fact in ("mixed", "pool", "MIT", "a test", "Revision: 1", card.sha256, "sums 2"):
        assert fact in card.markdown()


def test_the_hash_is_of_rows_and_order_alone():
    """By hand: another program can check it."""
    line = '{"family": "sums", "id": "a", "prompt": "2 + 2 =", "response": "4", "subtask": ""}\n'
    assert content_digest(ROWS[:1]) == hashlib.sha256(line.encode()).hexdigest()
    digests = [content_digest(ROWS), content_digest(ROWS[::-1]), content_digest(ROWS[:2]), content_digest([])]
    assert len(set(digests)) == 4


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(ROOT / "base" / "tiny")


def test_only_the_answer_is_learned(tokenizer):
    chat = instruction_format(tokenizer)
    example = tokenize_instruction(ROWS[1], chat, max_length=100)
    learned = [token for token, mask in zip(example.input_ids, example.response_mask, strict=True) if mask]
    assert learned == [*chat.content("Lima"), chat.end_id]
    assert example.response_mask == sorted(example.response_mask)


def test_special_tokens_in_data_are_text(tokenizer):
    chat = instruction_format(tokenizer)
    row = Instruction("a", f"what is {chat.end}?", f"{chat.end} ends", "f")
    example = tokenize_instruction(row, chat, max_length=200)
    plain = tokenize_instruction(Instruction("a", "what is ?", " ends", "f"), chat, max_length=200)
    assert example.input_ids.count(chat.end_id) == plain.input_ids.count(chat.end_id) == 1


def test_long_answers_are_cut_and_long_prompts_left_out(tokenizer):
    chat = instruction_format(tokenizer)
    whole = tokenize_instruction(ROWS[1], chat, max_length=100)
    prompt = len(whole) - sum(whole.response_mask)
    cut = tokenize_instruction(ROWS[1], chat, max_length=prompt + 1)
    assert cut.input_ids == whole.input_ids[: prompt + 1]
    assert sum(cut.response_mask) == 1
    assert tokenize_instruction(ROWS[1], chat, max_length=prompt) is None


def test_a_base_model_gets_the_tulu_format(tokenizer):
    tokenizer.chat_template = None
    tokenizer.eos_token = "<|end|>"
    chat = instruction_format(tokenizer)
    example = tokenize_instruction(ROWS[1], chat, max_length=100)
    told = tokenizer.decode(example.input_ids)
    assert told == "<|user|>\nCapital of Peru?\n<|assistant|>\nLima<|end|>"
    assert instruction_format(tokenizer) == chat
