"""Generated games: solvable, balanced, reproducible, apart between splits, and close to the official rooms."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from alfworld_env.environment import AlfworldEnv
from alfworld_env.experts import expert_actions
from alfworld_env.games import TASK_TYPES, Game
from alfworld_env.generate import SIZES, SPLITS, Size, Split, generate_games
from alfworld_env.generate_pddl import SENTENCES
from alfworld_env.planner import plan
from alfworld_env.problem import Problem, parse_problem
from alfworld_env.rooms import coordinate, full_rooms, location_id, object_id
from alfworld_env.small_rooms import small_rooms


@cache
def games(n: int, size: Size, split: Split = "train", seed: int = 0) -> tuple[Game, ...]:
    return tuple(generate_games(n, seed, size=size, split=split))


def layout(game: Game) -> tuple[Any, ...]:
    """What the agent can tell of a game but for its task: the room and what lies where."""
    problem = parse_problem(game.pddl_problem)
    contents = [
        (receptacle, tuple(problem.objects[item] for item in items))
        for receptacle, items in zip(problem.receptacles, problem.contents, strict=True)
    ]
    return (game.scene, *contents)


def digest(size: Size, split: Split) -> str:
    text = "".join(repr(game) for game in generate_games(30, 5, size=size, split=split))
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("size", SIZES)
def test_every_game_is_won_by_its_plan_and_not_before(size: Size, split: Split) -> None:
    lengths: dict[str, list[int]] = {name: [] for name in TASK_TYPES}
    for game in games(360, size, split):
        env = AlfworldEnv(game)
        assert env.reset().endswith(f"Your task is to: {game.goal_text}")
        assert not env.won
        actions = plan(env.state)
        assert actions
        steps = [env.step(action) for action in actions]
        assert [step.won for step in steps] == [False] * (len(steps) - 1) + [True]
        lengths[game.task_type].append(len(actions))
    assert {name: len(found) for name, found in lengths.items()} == dict.fromkeys(TASK_TYPES, 60)
    assert all(2 <= length <= 10 for found in lengths.values() for length in found)


def test_types_take_turns_or_follow_weights() -> None:
    two = ["pick_heat_then_place_in_recep", "look_at_obj_in_light"]
    assert [game.task_type for game in generate_games(4, 0, two, "small")] == two * 2
    drawn = Counter(game.task_type for game in generate_games(400, 0, {two[0]: 3, two[1]: 1}, "small"))
    assert set(drawn) == set(two)
    assert 250 <= drawn[two[0]] <= 350  # 300 expected, 8.7 its standard deviation


@pytest.mark.parametrize("size", SIZES)
def test_a_longer_list_begins_with_the_shorter_one(size: Size) -> None:
    assert generate_games(7, 3, size=size) == generate_games(20, 3, size=size)[:7]
    assert generate_games(0, 3, size=size) == []
    assert generate_games(5, 3, size=size) != generate_games(5, 4, size=size)


def test_games_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "import hashlib; from alfworld_env.generate import *\n"
        "for size in SIZES:\n  for split in SPLITS:\n"
        "    text = ''.join(repr(game) for game in generate_games(30, 5, size=size, split=split))\n"
        "    print(hashlib.sha256(text.encode()).hexdigest())"
    )
    expected = [digest(size, split) for size in SIZES for split in SPLITS]
    for hash_seed in ("0", "4321"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert found.stdout.split() == expected


@pytest.mark.parametrize("size", SIZES)
def test_splits_share_no_layout_and_no_unseen_scene(size: Size) -> None:
    layouts = {split: [layout(game) for game in games(360, size, split)] for split in SPLITS}
    # Another seed must not leak either: which split a layout belongs to follows from the layout.
    layouts["valid_seen"] += [layout(game) for game in games(360, size, "valid_seen", seed=1)]
    for split, found in layouts.items():
        assert len(set(found)) == len(found), f"{split} has a layout twice"
    assert set(layouts["train"]).isdisjoint(layouts["valid_seen"])
    scenes = {split: {found[0] for found in layouts[split]} for split in SPLITS}
    assert scenes["train"].isdisjoint(scenes["valid_unseen"])
    known = {room.scene for room in (full_rooms if size == "full" else small_rooms)(False)}
    assert scenes["train"] | scenes["valid_seen"] <= known
    assert scenes["valid_unseen"].isdisjoint(known)
    assert all(game.split == split for split in SPLITS for game in games(360, size, split))


def test_small_unseen_rooms_have_other_receptacles() -> None:
    seen, unseen = (
        {(room.kind, tuple(receptacle.kind for receptacle in room.receptacles)) for room in small_rooms(part)}
        for part in (False, True)
    )
    assert seen.isdisjoint(unseen)
    assert len(seen) > 600
    assert len(unseen) > 150


def test_thousands_of_small_games_are_all_different() -> None:
    found = games(3000, "small", seed=2)
    assert len({game.id for game in found}) == len(found)
    assert len({(layout(game), game.task_type, game.goal_text) for game in found}) == len(found)


def test_small_games_are_small() -> None:
    problems = [parse_problem(game.pddl_problem) for game in games(600, "small")]
    receptacles = [len(problem.receptacles) for problem in problems]
    assert min(receptacles) == 5
    assert max(receptacles) == 9
    assert 5.5 <= mean(receptacles) <= 7
    assert all(3 <= len(problem.objects) <= 7 for problem in problems)
    for expert, most, typical in (("planner", 10, 6.5), ("handcoded", 25, 10)):
        lengths = [len(expert_actions(game, expert, seed=0)) for game in games(240, "small")]
        assert max(lengths) <= most
        assert mean(lengths) <= typical


def test_full_rooms_look_like_the_official_ones() -> None:
    """Mean numbers by room kind over the official training games: receptacles 6 to 54, objects as in the bounds."""
    objects: dict[str, list[int]] = {}
    rooms = {room.scene: room for part in (False, True) for room in full_rooms(part)}
    kinds = ("kitchen", "living", "bedroom", "bathroom")
    assert Counter(room.kind for room in rooms.values()) == dict.fromkeys(kinds, 27)
    for game in games(360, "full"):
        problem = parse_problem(game.pddl_problem)
        assert 6 <= len(problem.receptacles) <= 54
        objects.setdefault(rooms[game.scene].kind, []).append(len(problem.objects))
    bounds = {"bedroom": (20, 33, 51), "living": (19, 32, 52), "kitchen": (38, 54, 75), "bathroom": (17, 24, 37)}
    for kind, (least, middle, most) in bounds.items():
        assert least <= min(objects[kind])
        assert max(objects[kind]) <= most
        assert abs(mean(objects[kind]) - middle) < 0.1 * middle


@pytest.mark.parametrize("size", SIZES)
def test_objects_lie_where_they_may(size: Size) -> None:
    accepted: list[bool] = []
    for game in games(360, size):
        problem = parse_problem(game.pddl_problem)
        goal = problem.goal
        assert problem.start not in set(problem.receptacle_locations).union(*problem.object_locations)
        for receptacle, items in enumerate(problem.contents):
            kind = problem.receptacle_types[receptacle]
            types = [problem.object_types[item] for item in items]
            # The goal asks for bringing it there, so it is not there yet.
            if not goal.condition and not goal.lamp_type and kind == goal.receptacle_type:
                assert goal.object_type not in types
            loose = [item for item in items if item in problem.pickupable]
            accepted += [problem.accepts(receptacle, item) for item in loose]
            assert all(problem.receptacle_locations[receptacle] in problem.object_locations[item] for item in loose)
    # Officially 1.4 % lie where they could not be put: rolls of paper towel, teddies, all that is on TV stands.
    assert 0.94 <= mean(accepted) < 1


def test_both_sentences_of_each_type_occur() -> None:
    # "put a {object} in {receptacle}." becomes the pattern "put a \w+ in \w+\."
    patterns = {name: [re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(t)) for t in pair] for name, pair in SENTENCES.items()}
    found: Counter[tuple[str, int]] = Counter()
    for game in games(600, "small"):
        matches = [i for i, pattern in enumerate(patterns[game.task_type]) if re.fullmatch(pattern, game.goal_text)]
        assert len(matches) == 1
        found[game.task_type, matches[0]] += 1
    assert len(found) == 12
    assert min(found.values()) >= 25  # 50 expected, 5 the standard deviation


def test_ids_are_written_as_in_the_official_files() -> None:
    written = ["_plus_00_dot_97", "_minus_02_dot_78", "00_dot_00", "_minus_00_dot_05"]
    assert [coordinate(cm) for cm in (97, -278, 0, -5)] == written
    assert object_id("Mug", (-200, 79, 117)) == "Mug_bar__minus_02_dot_00_bar__plus_00_dot_79_bar__plus_01_dot_17"
    assert location_id((-5, 7, 3, -30)) == "loc_bar__minus_5_bar_7_bar_3_bar__minus_30"


def _doors_and_places(problem: Problem) -> list[Any]:
    """Names, types, doors, and for each receptacle the first one at its place; coordinates themselves are made up."""
    places = problem.receptacle_locations
    rows = zip(problem.receptacles, problem.receptacle_types, strict=True)
    return [(*row, i in problem.openable, places.index(places[i])) for i, row in enumerate(rows)]


def test_rooms_equal_the_official_ones(
    shared: Callable[[str], Path], read_jsonl_xz: Callable[[Path], list[Any]]
) -> None:
    rows = read_jsonl_xz(shared("fixtures/alfworld/alfworld_games.jsonl.xz"))
    # FloorPlan422 has three sets of locations in the official games.
    official = {row["scene"]: row for row in rows if row["split"] == "train" and row["scene"] != "FloorPlan422"}
    generated = {g.scene: g for split in SPLITS for g in games(360, "full", split) if g.scene in official}
    assert len(generated) > 80
    for scene, game in generated.items():
        expected = _doors_and_places(parse_problem(official[scene]["pddl_problem"]))
        assert _doors_and_places(parse_problem(game.pddl_problem)) == expected, scene


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1, "seed": 0}, "0 or more"),
        ({"n": 1, "seed": -3}, "0 or more"),
        ({"n": 1, "seed": 0, "task_types": ["pick_up"]}, "unknown task type pick_up; choose from"),
        ({"n": 1, "seed": 0, "task_types": []}, "no task type"),
        ({"n": 1, "seed": 0, "task_types": {"look_at_obj_in_light": 0}}, "one above 0"),
        ({"n": 1, "seed": 0, "task_types": {"look_at_obj_in_light": float("nan")}}, "one above 0"),
        ({"n": 1, "seed": 0, "size": "tiny"}, "choose one of full, small"),
        ({"n": 1, "seed": 0, "split": "test"}, "choose one of train, valid_seen, valid_unseen"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        generate_games(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", SIZES)
def test_a_thousand_games_take_seconds(size: Size) -> None:
    began_s = time.process_time()
    generate_games(1000, 9, size=size)
    assert time.process_time() - began_s < 8  # 0.5 and 2 s on a core without other load


@pytest.mark.textworld
@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_textworld_plays_generated_games(size: Size) -> None:
    pytest.importorskip("alfworld", reason="the reference engine needs alfworld: pip install 'encore[textworld]'")
    candidates = games(360, size)
    for task_type in TASK_TYPES:
        # The smallest game of each type: in a large kitchen TextWorld takes a minute.
        game = min((g for g in candidates if g.task_type == task_type), key=lambda g: len(g.pddl_problem))
        reference, fast = AlfworldEnv(game, engine="textworld"), AlfworldEnv(game)
        assert reference.reset() == fast.reset()
        actions = plan(fast.state)
        assert actions
        for action in actions:
            assert reference.admissible == fast.admissible
            assert reference.step(action) == fast.step(action)
        assert reference.won
