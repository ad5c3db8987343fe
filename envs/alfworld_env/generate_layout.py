"""Where the objects of a generated game lie: classes, numbers and places drawn from counts over the official games."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from random import Random
from typing import TypeVar

from .generate_pddl import Goal, Thing
from .rooms import Receptacle, Room, object_id, statistics

P_NESTED = 0.26  # share of games with something inside a pan, cup, ... where there is such a pair
SMALL_OTHERS = (2, 3)  # least and greatest number of objects in a small room besides those of the task
P_SMALL_SPARE = 0.15  # probability that a small room has one instance more than the task needs
# Tasks in which an object that already lies in the goal receptacle would shorten or solve the game.
EMPTY_TARGET = ("pick_and_place_simple", "pick_two_obj_and_place")

T = TypeVar("T")
Weighted = tuple[tuple[T, ...], tuple[float, ...]]  # values and the running sums of their weights
Placed = tuple[str, tuple[int, ...]]  # an object's type and the indices of the receptacles that hold it


def weighted(pairs: Sequence[tuple[T, float]]) -> Weighted[T]:
    """A table to draw from, of (value, weight)."""
    return tuple(value for value, _ in pairs), tuple(accumulate(weight for _, weight in pairs))


def draw(table: Weighted[T], rng: Random) -> T:
    """One value of a table that is not empty."""
    values, sums = table
    return values[min(bisect(sums, rng.random() * sums[-1]), len(values) - 1)]


def forbidden_type(goal: Goal) -> str:
    """The type of receptacle in which no object of the goal's type may lie at the start; "" if any will do."""
    return goal.receptacle if goal.task_type in EMPTY_TARGET else ""


@cache
def spots_of(room: Room, otype: str, forbidden: str = "") -> Weighted[int]:
    """Indices of the receptacles where the type was seen in rooms of this kind, but for the type `forbidden`."""
    seen = statistics()["rooms"][room.kind]["placement"].get(otype, {})
    number: dict[str, int] = {}
    for receptacle in room.receptacles:
        number[receptacle.type] = number.get(receptacle.type, 0) + 1
    return weighted(
        [
            (index, seen[receptacle.type] / number[receptacle.type])
            for index, receptacle in enumerate(room.receptacles)
            if receptacle.type in seen and receptacle.type != forbidden
        ]
    )


def placements(room: Room, goal: Goal, small: bool, rng: Random) -> list[Placed]:
    """Objects with the receptacles they lie in (none: they stand in the room), in the order of their types."""
    placed: list[Placed] = []
    for otype, receptacles, number in room.fixed:
        if number == 1:
            placed.append((otype, receptacles))
        else:
            placed += [(otype, receptacles[i : i + 1]) for i in range(number)]
    needed = 2 if goal.task_type == "pick_two_obj_and_place" else 1
    p_inside = statistics()["p_in_receptacle"]
    for otype, number in (_small_counts if small else _full_counts)(room, goal.object, needed, rng):
        is_target = otype == goal.object
        spots = spots_of(room, otype, forbidden_type(goal) if is_target else "")
        for instance in range(number):
            # The instances that the task needs lie where the agent can take them.
            inside = spots[0] and (small or (is_target and instance < needed) or rng.random() < p_inside[otype])
            placed.append((otype, (draw(spots, rng),) if inside else ()))
    return sorted(placed)


def _full_counts(room: Room, target: str, needed: int, rng: Random) -> list[tuple[str, int]]:
    """Numbers of each loose class, with the share of games and the mean number that were counted in the scene."""
    counts = []
    for otype, (share, mean) in room.objects.items():
        if otype != target and rng.random() >= share:
            continue
        # One to three, evenly, is what the official rooms look like; mixing in 1 or 3 gives the scene's own mean.
        if mean <= 2:
            number = rng.randint(1, 3) if rng.random() < mean - 1 else 1
        else:
            number = 3 if rng.random() < mean - 2 else rng.randint(1, 3)
        counts.append((otype, max(number, needed) if otype == target else number))
    return counts


def _small_counts(room: Room, target: str, needed: int, rng: Random) -> list[tuple[str, int]]:
    """The target, at times with a spare one, and a few other classes once each."""
    others: list[str] = []
    wanted = rng.randint(*SMALL_OTHERS)
    for _ in range(4 * wanted):
        other = draw(_small_classes(room), rng)
        if other != target and other not in others:
            others.append(other)
        if len(others) == wanted:
            break
    return [(target, needed + (rng.random() < P_SMALL_SPARE)), *((other, 1) for other in others)]


@cache
def _small_classes(room: Room) -> Weighted[str]:
    return weighted([(otype, share) for otype, (share, _) in room.objects.items() if spots_of(room, otype)[0]])


def things_of(room: Room, placed: Sequence[Placed], rng: Random) -> list[Thing]:
    """Gives ids near their receptacles, locations, and cold to a few things in the fridge."""
    coolable = statistics()["affordances"]["coolable"]
    p_cool = statistics()["p_cool_in_fridge"]
    things: dict[str, Thing] = {}
    for otype, receptacles in placed:
        holder = room.receptacles[receptacles[0]] if receptacles else None
        identity = _object_id(otype, holder, rng)
        while identity in things:
            identity = _object_id(otype, holder, rng)
        location = holder.location if holder else rng.choice(room.corners)
        in_fridge = holder is not None and holder.type == "Fridge"
        cool = in_fridge and otype in coolable and rng.random() < p_cool
        things[identity] = Thing(identity, otype, receptacles, location, cool)
    return list(things.values())


def _object_id(otype: str, holder: Receptacle | None, rng: Random) -> str:
    if holder is None:
        return object_id(otype, (rng.randint(-300, 300), rng.randint(0, 150), rng.randint(-300, 300)))
    x, y, z = holder.point_cm
    return object_id(otype, (x + rng.randint(-25, 25), y + rng.randint(2, 12), z + rng.randint(-25, 25)))


def nested_pairs(things: Sequence[Thing], rng: Random) -> list[tuple[Thing, Thing]]:
    """At times one pair (inner, outer) of things in the same receptacle, such as a spoon in a mug."""
    if rng.random() >= P_NESTED:
        return []
    seen = statistics()["nested"]
    pairs = [
        ((inner, outer), seen[outer.type][inner.type])
        for outer in things
        if outer.type in seen and outer.receptacles
        for inner in things
        if inner.type in seen[outer.type] and inner.receptacles == outer.receptacles and inner is not outer
    ]
    return [draw(weighted(pairs), rng)] if pairs else []
