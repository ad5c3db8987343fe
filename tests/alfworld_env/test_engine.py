"""The fast engine is TextWorld: on every recorded step, and on each quirk that the recordings show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfworld_env import AlfworldEnv, DamagedGame, Game, Step
from alfworld_env.problem import parse_problem

MakeGame = Callable[..., Game]


@pytest.mark.parametrize("recording", ["traces", "traces_original_2.1.1"])
def test_equals_textworld_on_every_recorded_step(
    shared: Callable[[str], Path],
    read_jsonl_xz: Callable[[Path], list[Any]],
    official_games: dict[str, Game],
    recording: str,
) -> None:
    traces = read_jsonl_xz(shared(f"fixtures/alfworld/{recording}.jsonl.xz"))
    assert traces
    for trace in traces:
        env = AlfworldEnv(official_games[trace["game"]], "2.1.1" if "original" in recording else trace["dialect"])
        start = trace["reset"]
        assert (env.reset(), env.admissible, env.won) == (start["observation"], start["admissible"], start["won"])
        for number, expected in enumerate(trace["steps"]):
            step = env.step(expected["action"])
            told = (step.observation, env.admissible, step.won, step.done, step.reward)
            asked = (expected["observation"], expected["admissible"], expected["won"], expected["done"])
            assert told == (*asked, float(expected["won"])), f"{trace['id']}, step {number}: {expected['action']!r}"


def test_replays_the_recorded_experts_to_their_win(
    shared: Callable[[str], Path], read_jsonl_xz: Callable[[Path], list[Any]], official_games: dict[str, Game]
) -> None:
    """300 episodes recorded with the original game; their wrapper has cut "You arrive at ... ." from the texts."""
    replayed = 0
    for episode in read_jsonl_xz(shared("fixtures/alfworld/expert_replay.jsonl.xz")):
        if episode["id"] not in official_games:
            continue
        env = AlfworldEnv(official_games[episode["id"]], "classic")
        conversation = episode["conv"]
        assert env.reset() == conversation[0]
        step = Step("", 0.0, False, False)
        for action, observation in zip(conversation[1::2], conversation[2::2], strict=False):
            step = env.step(action)
            text = step.observation
            assert (text.partition(". ")[2] if text.startswith("You arrive at") else text) == observation
        replayed += 1
    assert replayed >= 299


def play(game: Game, *actions: str, dialect: str = "2.1.3") -> list[str]:
    env = AlfworldEnv(game, dialect)
    env.reset()
    return [env.step(action).observation for action in actions]


def test_intro_lists_receptacles_by_id_with_numbers_running_down(make_game: MakeGame) -> None:
    assert AlfworldEnv(make_game()).reset() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
        "a cabinet 1, a countertop 2, a countertop 1, a desk 1, a fridge 1, a microwave 1, and a sinkbasin 1.\n\n"
        "Your task is to: put a mug in desk."
    )


def test_first_look_sees_nothing(make_game: MakeGame) -> None:
    assert play(make_game(), "look") == [
        "You are in the middle of a room. Looking quickly around you, you see nothing."
    ]


def test_neighbours_are_reached_together_but_not_gone_to(make_game: MakeGame) -> None:
    env = AlfworldEnv(make_game())
    env.step("go to countertop 2")
    assert "go to cabinet 1" not in env.admissible
    assert env.step("open cabinet 1").observation == (
        "You open the cabinet 1. The cabinet 1 is open. In it, you see a bread 1, and a mug 1."
    )


def test_look_tells_only_what_was_taken_from_one_neighbour_and_put_into_another(make_game: MakeGame) -> None:
    actions = (
        "go to countertop 2",
        "take knife 1 from countertop 2",
        "look",
        "open cabinet 1",
        "move knife 1 to cabinet 1",
    )
    *_, empty, _, _, moved = play(make_game(), *actions, "look")
    assert empty == "You are facing the cabinet 1, and countertop 2. Next to it, you see nothing."
    assert moved == "You are facing the cabinet 1, and countertop 2. Next to it, you see a knife 1."


def test_nested_objects_are_told_for_ever_but_never_the_object_itself(make_game: MakeGame) -> None:
    take_spoon = ("go to countertop 1", "take spoon 1 from countertop 1", "move spoon 1 to countertop 1")
    actions = (*take_spoon, "take mug 2 from countertop 1", "examine mug 2")
    assert play(make_game(), *actions)[-1] == "This is a normal mug 2. In it, you see a spoon 1."
    actions = ("go to cabinet 1", "open cabinet 1", "take mug 1 from cabinet 1", "examine mug 1")
    assert play(make_game(), *actions)[-1] == "This is a normal mug 1. In it, you see nothing."


def test_an_object_in_two_receptacles_leaves_only_the_one_it_is_taken_from(make_game: MakeGame) -> None:
    texts = play(make_game(), "go to countertop 1", "take apple 1 from countertop 1", "go to desk 1")
    assert texts[-1] == "You arrive at desk 1. On the desk 1, you see a apple 1, and a desklamp 1."


def test_states_of_a_held_object(make_game: MakeGame) -> None:
    take = ("go to fridge 1", "open fridge 1", "take apple 2 from fridge 1", "examine apple 2")
    clean = ("go to sinkbasin 1", "clean apple 2 with sinkbasin 1", "examine apple 2")
    heat = ("go to microwave 1", "heat apple 2 with microwave 1", "examine apple 2")
    texts = play(make_game(), *take, *clean, *heat)
    assert texts[3] == "This is a cold apple 2."  # cool from the start
    assert texts[6] == "This is a cool and clean apple 2."
    assert texts[8:] == ["You heat the apple 2 using the microwave 1.", "This is a hot and clean apple 2."]  # door shut


def test_slicing_reaches_into_a_shut_receptacle(make_game: MakeGame) -> None:
    texts = play(make_game(), "go to countertop 2", "take knife 1 from countertop 2", "slice bread 1 with knife 1")
    assert texts[-1] == "You sliced the bread 1 with the knife 1."


def test_placing_follows_the_types(make_game: MakeGame) -> None:
    actions = ("go to countertop 1", "take spoon 1 from countertop 1", "go to desk 1", "move spoon 1 to desk 1")
    assert play(make_game(), *actions)[-1] == "Nothing happens."


def test_dialects_differ_in_the_verb_the_arrival_and_help(make_game: MakeGame) -> None:
    actions = ("go to countertop 1", "take mug 2 from countertop 1")
    assert play(make_game(), *actions, "move mug 2 to countertop 1")[-1] == "You move the mug 2 to the countertop 1."
    classic = play(make_game(), *actions, "put mug 2 in/on countertop 1", "help", dialect="classic")
    assert classic[2] == "You put the mug 2 in/on the countertop 1." and classic[3].startswith("Available commands:")
    assert play(make_game(), *actions, "put mug 2 on countertop 1", dialect="classic")[-1] == "Nothing happens."
    original = play(make_game(), *actions, "help", dialect="2.1.1")
    assert original[0].startswith("You arrive at loc 5.") and original[2] == "Nothing happens."


def test_a_win_is_counted_anew_at_each_step(make_game: MakeGame) -> None:
    env = AlfworldEnv(make_game())
    for action in ("go to countertop 1", "take mug 2 from countertop 1", "go to desk 1"):
        assert env.step(action)[1:] == (0.0, False, False)
    assert env.step("move mug 2 to desk 1")[1:] == (1.0, True, True)
    assert env.step("nonsense")[1:] == (1.0, True, True)
    assert env.step("take mug 2 from desk 1")[1:] == (0.0, False, False)


@pytest.mark.parametrize(
    ("task_type", "item", "place", "actions"),
    [
        (
            "look_at_obj_in_light",
            "Mug",
            "DeskLamp",
            ["go to desk 1", "use desklamp 1", "go to countertop 1", "take mug 2 from countertop 1", "go to desk 1"],
        ),
        (
            "pick_cool_then_place_in_recep",
            "Apple",
            "Desk",
            ["go to fridge 1", "open fridge 1", "take apple 2 from fridge 1", "go to desk 1", "move apple 2 to desk 1"],
        ),
        (
            "pick_two_obj_and_place",
            "Apple",
            "Desk",
            ["go to fridge 1", "open fridge 1", "take apple 2 from fridge 1", "go to desk 1", "move apple 2 to desk 1"],
        ),
    ],
)
def test_goals_win_at_the_last_step_and_no_sooner(
    make_game: MakeGame, task_type: str, item: str, place: str, actions: list[str]
) -> None:
    env = AlfworldEnv(make_game(task_type, item, place))
    assert [env.step(action).won for action in actions] == [False] * (len(actions) - 1) + [True]


def test_clones_go_their_own_ways(make_game: MakeGame) -> None:
    env = AlfworldEnv(make_game())
    env.step("go to countertop 1")
    copy = env.clone()
    before = env.admissible
    copy.step("take mug 2 from countertop 1")
    assert env.admissible == before != copy.admissible


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("(:goal", "(:gaol", "no (:goal"),
        ("- otype", "- unicorn", "unknown object type 'unicorn'"),
        ("objectType Mug_bar_1 MugType", "objectType Mug_bar_1 GrailType", "unknown object type 'grailtype'"),
        ("(openable Fridge_bar_1)", "(openable Fridge_bar_1", "cut off"),
        ("(openable Fridge_bar_1)", "(flies Fridge_bar_1)", "unknown fact"),
        ("(isCool Apple_bar_1)", "(isCool Fridge_bar_1)", "unknown object 'fridge_bar_1'"),
        ("(openable Fridge_bar_1)", "(openable)", "argument"),
        ("(atLocation agent1 loc_bar_0)", "", "0 start locations"),
        ("(inReceptacle ?o ?r)", "(holds agent1 ?o)", "no task type"),
        ("receptacleType ?r DeskType", "receptacleType ?r ThroneType", "'thronetype', which is not declared"),
    ],
)
def test_what_cannot_be_played_is_refused_with_a_reason(make_game: MakeGame, old: str, new: str, reason: str) -> None:
    text = make_game().pddl_problem
    assert old in text
    with pytest.raises(DamagedGame) as error:
        parse_problem(text.replace(old, new))
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_wrong_choices_are_named(make_game: MakeGame) -> None:
    with pytest.raises(ValueError, match=r"unknown dialect '3\.0'"):
        AlfworldEnv(make_game(), "3.0")
    with pytest.raises(ValueError, match="unknown engine 'slow'"):
        AlfworldEnv(make_game(), engine="slow")
