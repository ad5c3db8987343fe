"""Single-turn prompts: what the policy is shown, and what is taken from its answer."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from encore import rollout
from encore.errors import UserError
from encore.rollout import ChatTurns, SingleTurn, StopReason

ANSWERS = [f"<think>because</think><action>take key {number}</action>" for number in range(4)]


@dataclass
class Step:
    observation: str
    reward: float = 0.0
    done: bool = False
    won: bool = False


class Keys:
    """Names each of its texts and admissible actions after the step, so that a prompt shows which it holds."""

    def reset(self) -> str:
        self.steps = 0
        return "the task is sight 0"

    @property
    def admissible(self) -> list[str]:
        return [f"take key {self.steps}", f"drop key {self.steps}"]

    def step(self, action: str) -> Step:
        self.steps += 1
        return Step(f"sight {self.steps}")


def play(policy, prompt, **settings):
    arguments = {"max_steps": 4, "max_length": 2000, "max_action_tokens": 40, **settings}
    return rollout.collect(policy, [Keys()], prompt=prompt, **arguments)[0]


def prompts(scripted, chat, prompt) -> list[str]:
    policy = scripted(*ANSWERS)
    play(policy, prompt)
    return [chat.tokenizer.decode(request.prompt_ids, skip_special_tokens=True) for request in policy.requests]


@pytest.mark.parametrize("history", [0, 1, 2, 10])
def test_shows_the_last_steps_and_no_others(scripted, chat, history):
    for turn, text in enumerate(prompts(scripted, chat, SingleTurn(history=history))):
        for number in range(turn):
            inside = number >= turn - history
            assert (f"[Observation {number + 1}: '" in text) == inside
            assert (f"Action {number + 1}: 'take key {number}']" in text) == inside
        assert f"sight {turn}" in text
        assert f"sight {turn + 1}" not in text
        assert "the task is" in text
        assert (f"You have taken {turn} steps" in text) == (turn > 0)


def test_shows_what_is_admissible_now(scripted, chat):
    for turn, text in enumerate(prompts(scripted, chat, SingleTurn())):
        assert f"Actions that are possible now:\n'take key {turn}'\n'drop key {turn}'\n" in text
        assert "drop key" not in text.replace(f"drop key {turn}", "")


def test_every_turn_is_a_sequence_of_its_own(scripted, chat):
    episode = play(scripted(*ANSWERS), SingleTurn())
    sequences = rollout.sequences(episode)
    assert len(sequences) == episode.steps == 4
    for number, (sequence, turn) in enumerate(zip(sequences, episode.turns, strict=True)):
        assert sequence.input_ids == turn.context_ids + chat.action(ANSWERS[number])
        assert sum(sequence.response_mask) == len(turn.response_ids)
        assert set(sequence.turn) == {number}


def test_the_action_is_what_stands_between_its_tags(scripted):
    episode = play(scripted(*ANSWERS), SingleTurn())
    assert episode.actions == [f"take key {number}" for number in range(4)]
    assert (episode.invalid_actions, episode.parse_errors) == (0, 0)
    assert all(turn.admissible for turn in episode.turns)


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        ("<action> go north\n</action>", "go north"),
        ("<action>a</action><action>b</action>", "a"),
        ("<think>x</think>\n<action>a\nb</action> and more", "a\nb"),
        ("go north", None),
        ("<action>go north", None),
        ("<action> </action>", None),
        ("", None),
    ],
)
def test_reads_an_answer(answer, action):
    assert SingleTurn().action(answer) == action


def test_thoughts_may_be_required():
    strict = SingleTurn(require_think=True)
    assert strict.action("<action>a</action>") is None
    assert strict.action("<think>x<action>a</action>") is None
    assert strict.action("<think>x</think><action>a</action>") == "a"


def test_parse_errors_are_invalid_actions(scripted):
    episode = play(scripted("take key 0", ANSWERS[1]), SingleTurn())
    assert episode.stop_reason is StopReason.STEP_LIMIT
    assert episode.actions == ["", "take key 1", "take key 1", "take key 1"]
    assert (episode.parse_errors, episode.invalid_actions) == (1, 3)
    assert [turn.admissible for turn in episode.turns] == [False, True, False, False]


def test_a_parse_error_may_end_the_episode(scripted):
    episode = play(scripted(ANSWERS[0], "no tags"), SingleTurn(parse_error_ends=True))
    assert episode.stop_reason is StopReason.PARSE_ERROR
    assert (episode.steps, len(episode.turns)) == (1, 2)
    assert (episode.parse_errors, episode.invalid_actions) == (1, 1)
    assert len(rollout.sequences(episode)) == 2, "training sees the answer that ended the episode"
    assert rollout.metrics([episode])["stop/parse_error"] == 1.0


def test_templates_are_parameters(scripted, chat):
    prompt = SingleTurn(template="{step}/{observation}/{shown}/{{}}", template_first="{task}!")
    found = prompts(scripted, chat, prompt)
    assert "the task is sight 0!" in found[0]
    assert ["2/sight 1/1/{}" in found[1], "4/sight 3/2/{}" in found[3]] == [True, True]


@pytest.mark.parametrize("template", ["{goal}", "{", "{0}"])
def test_a_template_that_cannot_be_filled_in_is_said_when_it_is_made(template):
    with pytest.raises(UserError, match="template_first cannot be filled in"):
        SingleTurn(template_first=template)
    with pytest.raises(UserError, match="history is -1"):
        SingleTurn(history=-1)


def test_chat_turns_take_the_answer_as_it_stands():
    assert ChatTurns().action("  go north \n") == "go north"
    assert ChatTurns().action("") == ""
