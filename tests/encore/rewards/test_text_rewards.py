"""Format and length: what needs no model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore import rewards
from encore.errors import UserError
from encore.rewards.texts import Parts, parts_of

VALID = "<think>first this</think>\n\n<answer>then that</answer>"
BROKEN = [
    "",
    "then that",
    "<answer>then that</answer>",
    "<think>first this</think>",
    "<answer>then that</answer><think>first this</think>",
    f"Sure! {VALID}",
    f"{VALID} I hope this helps.",
    f"{VALID}{VALID}",
    "<think>first</think> so <answer>that</answer>",
    "<think>first</think><answer>that",
    "<think>first<answer>that</answer>",
    "<think>a<answer>b</think><answer>c</answer>",
    "<Think>first</Think><answer>that</answer>",
    "< think >first</ think ><answer>that</answer>",
]


def one(reward, completion, **columns):
    (value,) = reward(prompts=["p"], completions=[completion], **columns)
    return value


def test_the_form_and_what_is_none():
    reward = rewards.reward("format")
    assert one(reward, VALID) == 1.0
    assert [one(reward, text) for text in BROKEN] == [0.0] * len(BROKEN)
    assert parts_of(VALID) == Parts("first this", "then that")
    assert one(reward, "<think></think><answer> </answer>") == 1.0
    assert one(rewards.reward("format", {"allow_empty": False}), "<think>a</think><answer> </answer>") == 0.0
    assert one(rewards.reward("format", {"allow_empty": False}), VALID) == 1.0


@given(
    st.text(alphabet=" \n\tab<>/", max_size=12), st.text(alphabet=" \n\t.c", max_size=12), st.sampled_from([" ", "\n"])
)
def test_white_space_between_tags_does_not_count(thought, answer, space):
    text = f"{space}<think>{thought}</think>{space}<answer>{answer}</answer>{space}"
    assert parts_of(text) == Parts(thought.strip(), answer.strip())


def test_conversations_are_read_as_trl_gives_them():
    message = [{"role": "assistant", "content": VALID}]
    assert one(rewards.reward("format"), message) == 1.0
    assert one(rewards.reward("length", {"max_tokens": 4}), message, completion_ids=[[1, 2, 3]]) == 0.25


def test_length_falls_linearly_to_zero(context):
    reward = rewards.reward("length", {"max_tokens": 10})
    found = reward(prompts=["p"] * 4, completions=["a"] * 4, completion_ids=[[], [1] * 4, [1] * 10, [1] * 99])
    assert found == pytest.approx([1.0, 0.6, 0.0, 0.0])
    counting = rewards.reward("length", {"max_tokens": 1000}, context)
    text = "you are in the kitchen"
    assert one(counting, text) == 1 - len(context.content_ids(text)) / 1000
    with pytest.raises(UserError, match="given no tokenizer"):
        one(reward, text)
