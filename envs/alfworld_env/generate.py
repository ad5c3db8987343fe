"""Games without downloads: rooms of the official training scenes, or small ones, with new objects and tasks.

Room, objects and task are drawn from counts over the official games (see `rooms.py` and `data/README.md`). Game number
i follows from the seed, the split, the size, the task types and i: not from n, the machine or Python's hash seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Literal

from .games import TASK_TYPES, Game
from .generate_layout import (
    Placed,
    Weighted,
    draw,
    forbidden_type,
    nested_pairs,
    placements,
    spots_of,
    things_of,
    weighted,
)
from .generate_pddl import Goal, problem_text
from .planner import plan
from .problem import parse_problem
from .rooms import Room, full_rooms, statistics
from .small_rooms import small_rooms

Size = Literal["full", "small"]
Split = Literal["train", "valid_seen", "valid_unseen"]
SIZES: tuple[Size, ...] = ("full", "small")
SPLITS: tuple[Split, ...] = ("train", "valid_seen", "valid_unseen")
# Rooms are shared by train and valid_seen; of the layouts of their objects one in eight belongs to valid_seen.
SEEN_LAYOUT_EVERY = 8
STATIONS = {
    "pick_clean_then_place_in_recep": "SinkBasin",
    "pick_heat_then_place_in_recep": "Microwave",
    "pick_cool_then_place_in_recep": "Fridge",
}


def generate_games(
    n: int,
    seed: int,
    task_types: Sequence[str] | Mapping[str, float] | None = None,
    size: Size = "full",
    split: Split = "train",
) -> list[Game]:
    """`n` games; of each one a plan was played to a win, and none is won at the start.

    Args:
        n: how many.
        seed: a number >= 0. The first games of a longer list are those of a shorter one.
        task_types: types that take turns, or type -> weight to draw them at random; None: all six in turn.
        size: "full", rooms as in the official games (6 to 54 receptacles); "small", 5 to 9 receptacles and few objects.
        split: "train" and "valid_seen" share rooms and no layout of objects; "valid_unseen" has rooms of its own.

    Raises:
        ValueError: for an argument out of range, naming the values that there are.
    """
    if n < 0 or seed < 0:
        raise ValueError(f"generate_games: n and seed must be 0 or more, not n={n}, seed={seed}")
    if size not in SIZES:
        raise ValueError(f"generate_games: unknown size {size!r}; choose one of {', '.join(SIZES)}")
    if split not in SPLITS:
        raise ValueError(f"generate_games: unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    types, weights = _checked_types(task_types)
    games = []
    for index in range(n):
        rng = Random(f"{size}/{split}/{seed}/{index}")
        task_type = types[index % len(types)] if weights is None else rng.choices(types, weights)[0]
        games.append(_generate_game(f"trial_{size}_{seed}_{index:06d}", task_type, size, split, rng))
    return games


def _checked_types(task_types: Sequence[str] | Mapping[str, float] | None) -> tuple[list[str], list[float] | None]:
    if isinstance(task_types, str):
        task_types = [task_types]
    types = list(TASK_TYPES if task_types is None else task_types)
    unknown = ", ".join(name for name in types if name not in TASK_TYPES)
    if unknown or not types:
        fault = f"unknown task type {unknown}" if unknown else "no task type"
        raise ValueError(f"generate_games: {fault}; choose from {', '.join(TASK_TYPES)}")
    if not isinstance(task_types, Mapping):
        return types, None
    weights = [float(task_types[name]) for name in types]
    # Written so that a weight that is not a number fails too.
    if not (all(0 <= weight < float("inf") for weight in weights) and sum(weights) > 0):
        raise ValueError(f"generate_games: give task types weights of 0 or more, one above 0, not {dict(task_types)}")
    return types, weights


def _generate_game(trial: str, task_type: str, size: Size, split: Split, rng: Random) -> Game:
    while True:
        room = draw(_rooms(size, split == "valid_unseen", task_type), rng)
        goal = draw(_goals(room, task_type), rng)
        placed = placements(room, goal, size == "small", rng)
        if split == "valid_unseen" or _is_seen_layout(room, placed) == (split == "valid_seen"):
            break
    things = things_of(room, placed, rng)
    nested = nested_pairs(things, rng) if size == "full" else []
    start = rng.choice(room.starts)
    text = problem_text(f"plan_{trial}", room, things, nested, start, goal, official_types=size == "full")
    # The names of the official folders: type, object, movable receptacle (none), receptacle or lamp, scene.
    task = f"{task_type}-{goal.object}-None-{goal.receptacle or goal.lamp}-{room.scene.removeprefix('FloorPlan')}"
    game = Game(f"{split}/{task}/{trial}", task_type, goal.sentence(rng.randrange(2)), text, split, room.scene)
    if not plan(parse_problem(text)):  # `plan` plays what it proposes; [] would say that the game starts won
        raise RuntimeError(f"{game.id} cannot be won: a fault of generate_games, please report this line")
    return game


@cache
def _rooms(size: Size, unseen: bool, task_type: str) -> Weighted[Room]:
    """The rooms that allow the task; the kinds of room weigh as much as in the official games of the task."""
    pool = [room for room in (full_rooms if size == "full" else small_rooms)(unseen) if _goals(room, task_type)[0]]
    counts = statistics()["rooms"]
    games = {kind: sum(row[3] for row in counts[kind]["goals"].get(task_type, ())) for kind in counts}
    number = {kind: sum(room.kind == kind for room in pool) for kind in games}
    return weighted([(room, games[room.kind] / number[room.kind]) for room in pool])


@cache
def _goals(room: Room, task_type: str) -> Weighted[Goal]:
    """The official goals of the task that can be reached in the room, weighted by the games that have them."""
    if task_type in STATIONS and STATIONS[task_type] not in room.receptacle_types:
        return (), ()
    lamps = {otype for otype, receptacles, _ in room.fixed if receptacles}
    feasible: list[tuple[Goal, float]] = []
    for otype, rtype, lamp, games in statistics()["rooms"][room.kind]["goals"].get(task_type, ()):
        if otype not in room.objects or (lamp and lamp not in lamps) or (rtype and rtype not in room.receptacle_types):
            continue
        goal = Goal(task_type, otype, rtype, lamp)
        if spots_of(room, otype, forbidden_type(goal))[0]:
            feasible.append((goal, games))
    return weighted(feasible)


def _is_seen_layout(room: Room, placed: Sequence[Placed]) -> bool:
    """Whether a layout belongs to valid_seen: it follows from the layout alone, so no seed puts it into both splits."""
    digest = hashlib.sha256(f"{room.scene}/{placed}".encode()).digest()
    return digest[0] % SEEN_LAYOUT_EVERY == 0
