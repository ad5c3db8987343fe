"""Conversations become the tokens that a rollout would have seen, and the mask covers actions only."""

from __future__ import annotations

import pytest

from encore.chat import chat_format
from encore.errors import UserError
from encore.trajectories import Trajectory, read_jsonl, tokenize, write_jsonl
from experiments.base.tokenizer import train_tokenizer

CHATML = (
    "{% for message in messages %}{% if loop.first and message.role != 'system' %}{{ '<|system|>Be brief.<|end|>\n' }}"
    "{% endif %}{{ '<|user|>' + message.role + '\n' + message.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|user|>assistant\n' }}{% endif %}"
)
# Drops all but the last assistant turn's thoughts, as templates of reasoning models do.
FORGETFUL = (
    "{% for message in messages %}{{ '<|user|>' }}{% if loop.last or message.role == 'user' %}{{ message.content }}"
    "{% else %}{{ 'forgotten' }}{% endif %}{{ '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|user|>' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["go to desk 1", "take mug 2 from shelf 3", "You see a mug 2."] * 10, 320, 512)


def trajectory(**changes) -> Trajectory:
    values = {
        "id": "t",
        "environment": "alfworld",
        "task_type": "look",
        "goal": "find the mug",
        "observations": ["You see a desk 1.", "You see a mug 2.", "You take it."],
        "actions": ["go to desk 1", "take mug 2"],
        "won": True,
    }
    return Trajectory(**{**values, **changes})


@pytest.mark.parametrize("template", [None, CHATML])
def test_pieces_spell_the_rendered_conversation(tokenizer, template):
    if template is not None:
        tokenizer = type(tokenizer)(
            tokenizer_object=tokenizer.backend_tokenizer,
            pad_token="<|pad|>",
            eos_token="<|end|>",
            additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
        )
        tokenizer.chat_template = template
    shown = trajectory()
    example = tokenize(shown, chat_format(tokenizer))
    messages = []
    for observation, action in zip(shown.observations, shown.actions, strict=False):
        messages += [{"role": "user", "content": observation}, {"role": "assistant", "content": action}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered.startswith(tokenizer.decode(example.input_ids))
    responses = [token for token, mask in zip(example.input_ids, example.response_mask, strict=True) if mask]
    assert tokenizer.decode(responses) == "go to desk 1<|end|>take mug 2<|end|>"


def test_context_turns_are_no_response(tokenizer):
    example = tokenize(trajectory(context_turns=[0]), chat_format(tokenizer))
    responses = [token for token, mask in zip(example.input_ids, example.response_mask, strict=True) if mask]
    assert tokenizer.decode(responses) == "take mug 2<|end|>"


def test_too_long_drops_whole_turns(tokenizer):
    chat = chat_format(tokenizer)
    whole = tokenize(trajectory(), chat)
    cut = tokenize(trajectory(), chat, max_length=len(whole) - 1)
    assert cut.input_ids == whole.input_ids[: len(cut)]
    assert cut.input_ids[-1] == chat.end_id
    with pytest.raises(UserError, match="its first turn has"):
        tokenize(trajectory(), chat, max_length=5)


def test_a_template_that_rewrites_history_is_refused(tokenizer):
    other = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
    )
    other.chat_template = FORGETFUL
    with pytest.raises(UserError, match="renders a turn differently"):
        chat_format(other)
    other.chat_template = None
    with pytest.raises(UserError, match="has no chat template"):
        chat_format(other)


def test_jsonl_round_trip_and_damage(tmp_path):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [trajectory(), trajectory(id="u", won=False)])
    assert read_jsonl(path) == [trajectory(), trajectory(id="u", won=False)]
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match="line 2 is no trajectory"):
        read_jsonl(path)


def test_observations_and_actions_alternate():
    with pytest.raises(UserError, match="must alternate"):
        trajectory(actions=["a", "b", "c", "d"])
