"""The fast engine beside the real TextWorld, step by step, where the packages are installed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from alfworld_env import AlfworldEnv, Game, expert_actions, generate_games
from alfworld_env.reference import MissingTextWorld, game_data

MakeGame = Callable[..., Game]


def assert_equal_walk(game: Game, dialect: str, steps: int) -> None:
    """An expert's way to the win, with refused commands and random ones mixed in, then on at random."""
    pytest.importorskip("alfworld", reason="the reference engine needs the extra textworld")
    rng = random.Random(f"{game.id}/{dialect}")
    reference, fast = AlfworldEnv(game, dialect, engine="textworld"), AlfworldEnv(game, dialect)
    assert reference.reset() == fast.reset()
    assert (reference.admissible, reference.won) == (fast.admissible, fast.won)
    wishes = expert_actions(game, "planner", dialect=dialect)
    wishes[1:1] = ["", "  look \n", "Go To desk 1", "examine everything", rng.choice(fast.admissible)]
    for number in range(steps):
        command = wishes[number] if number < len(wishes) else rng.choice(fast.admissible)
        assert reference.step(command) == fast.step(command), f"step {number}: {command!r}"
        assert reference.admissible == fast.admissible, f"after step {number}: {command!r}"


@pytest.mark.textworld
@pytest.mark.parametrize(
    ("task_type", "item", "place", "dialect"),
    [
        ("pick_two_obj_and_place", "Mug", "Cabinet", "2.1.3"),
        ("look_at_obj_in_light", "Apple", "DeskLamp", "classic"),
        ("pick_clean_then_place_in_recep", "Apple", "Desk", "2.1.3"),
    ],
)
def test_equals_textworld_in_the_room_of_oddities(
    make_game: MakeGame, task_type: str, item: str, place: str, dialect: str
) -> None:
    assert_equal_walk(make_game(task_type, item, place), dialect, 50)


@pytest.mark.textworld
@pytest.mark.parametrize("number", range(3))
def test_equals_textworld_on_small_generated_games(number: int) -> None:
    assert_equal_walk(generate_games(3, seed=21, size="small")[number], ("2.1.3", "classic")[number % 2], 40)


@pytest.mark.textworld
@pytest.mark.slow
def test_equals_textworld_on_a_full_generated_and_an_official_game(official_games: dict[str, Game]) -> None:
    assert_equal_walk(generate_games(1, seed=22, size="full")[0], "2.1.3", 25)
    assert_equal_walk(next(game for game in official_games.values() if game.split == "valid_unseen"), "classic", 25)


@pytest.mark.textworld
def test_reference_resets(make_game: MakeGame) -> None:
    pytest.importorskip("alfworld", reason="the reference engine needs the extra textworld")
    env = AlfworldEnv(make_game(), engine="textworld")
    start = env.reset(), env.admissible
    env.step("go to fridge 1")
    assert (env.reset(), env.admissible) == start


def test_absent_packages_are_named_in_one_line(make_game: MakeGame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingTextWorld, match=r"pip install 'encore\[textworld\]'") as error:
        AlfworldEnv(make_game(), engine="textworld")
    assert "\n" not in str(error.value)


@pytest.mark.textworld
def test_the_sentence_keeps_exactly_its_full_stop(make_game: MakeGame) -> None:
    pytest.importorskip("alfworld", reason="the reference engine needs the extra textworld")
    assert '"Your task is to: put a mug in desk."' in game_data(make_game())["grammar"]
    with pytest.raises(ValueError, match=r"no dialect 2\.1\.1"):
        game_data(make_game(), "2.1.1")
