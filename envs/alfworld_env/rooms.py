"""Rooms for generated games: what stands where, taken from counts over the official training games.

A room is a scene without its loose objects: receptacles with ids, doors and locations, furniture that cannot be picked
up, and the places where an agent can start. All of it is the same in every game of the scene, as in the official data.
`data/README.md` says what each count is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any

GRID_CM = 25  # agents stand on a grid of a quarter metre
HELD_OUT = 3  # scenes of each room kind that no training game uses
# What one step forward is in (x, z) for the four rotations of an agent.
FACING = ((0, 1), (1, 0), (0, -1), (-1, 0))
# Ids of basins carry the fixture that they belong to and end in their own class.
BASINS = {"SinkBasin": "Sink", "BathtubBasin": "Bathtub"}


@dataclass(frozen=True, slots=True)
class Receptacle:
    """One receptacle; `kind` is its class as the agent reads it, `type` the one that rules use: nearly always equal."""

    id: str
    kind: str
    type: str
    location: str
    openable: bool
    point_cm: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A scene without loose objects; compared and hashed by identity, so that what follows from it can be cached.

    `fixed` lists furniture as (type, indices of the receptacles that hold it, number). `objects` maps each class of
    loose objects to (probability that the room has any, mean number if it does). The other two are locations without
    a receptacle: an agent starts at one of `starts`, and things that lie in no receptacle stand at `corners`.
    """

    scene: str
    kind: str
    receptacles: tuple[Receptacle, ...]
    fixed: tuple[tuple[str, tuple[int, ...], int], ...]
    objects: Mapping[str, tuple[float, float]]
    starts: tuple[str, ...]
    corners: tuple[str, ...]

    @property
    def receptacle_types(self) -> set[str]:
        """Types of the receptacles, without the ending "Type"."""
        return {receptacle.type for receptacle in self.receptacles}


@cache
def statistics() -> Mapping[str, Any]:
    """The counts of `data/rooms.json`, read once."""
    return json.loads(resources.files(__package__).joinpath("data/rooms.json").read_text(encoding="utf-8"))


def _signed(number: int, digits: str) -> str:
    return f"_minus_{digits}" if number < 0 else f"_plus_{digits}" if number > 0 else digits


@cache
def coordinate(cm: int) -> str:
    """A coordinate as the official ids write it: -278 gives "_minus_02_dot_78", 0 gives "00_dot_00"."""
    return _signed(cm, f"{abs(cm) // 100:02d}_dot_{abs(cm) % 100:02d}")


def object_id(kind: str, point_cm: Sequence[int]) -> str:
    """An official-looking id such as "Mug_bar__plus_00_dot_97_bar__plus_01_dot_11_bar__minus_00_dot_23"."""
    x, y, z = point_cm
    return f"{kind}_bar_{coordinate(x)}_bar_{coordinate(y)}_bar_{coordinate(z)}"


def location_id(place: Sequence[int]) -> str:
    """The id of a location from grid x, grid z, rotation (0 to 3) and horizon in degrees."""
    return "loc_bar_" + "_bar_".join(f"_minus_{-number}" if number < 0 else str(number) for number in place)


def _points(kind: str, places: Sequence[Sequence[int]], rng: Random) -> list[tuple[int, int, int]]:
    """One point in front of each place, all distinct, in the order of the ids that they make."""
    height = statistics()["height_cm"][kind]
    points: dict[str, tuple[int, int, int]] = {}
    for x, z, rotation, _ in places:
        while True:
            ahead_x, ahead_z = FACING[rotation]
            point = (
                x * GRID_CM + ahead_x * 60 + rng.randint(-30, 30),
                height + (rng.randint(-8, 8) if height else 0),
                z * GRID_CM + ahead_z * 60 + rng.randint(-30, 30),
            )
            key = object_id(kind, point).lower()
            if key not in points:
                points[key] = point
                break
    return [points[key] for key in sorted(points)]


def build_room(
    scene: str,
    kind: str,
    receptacles: Sequence[tuple[str, str, tuple[int, int, int, int], bool]],
    fixed: Sequence[tuple[str, tuple[int, ...], int]],
    objects: Mapping[str, tuple[float, float]],
) -> Room:
    """A room from receptacles (class, type, place, openable) in the order of their ids, which follow from `scene`.

    Ids decide the numbers that the agent sees ("drawer 3"), so points are drawn by class and dealt out in the order of
    the ids they make: the receptacle listed first of a class gets the highest number, as in the official games.
    """
    rng = Random(f"room/{scene}")
    by_kind: dict[str, list[int]] = {}
    for index, (name, *_) in enumerate(receptacles):
        by_kind.setdefault(name, []).append(index)
    points: dict[int, tuple[int, int, int]] = {}
    for name, indices in by_kind.items():
        points.update(zip(indices, _points(name, [receptacles[i][2] for i in indices], rng), strict=True))
    built = []
    for index, (name, rtype, place, openable) in enumerate(receptacles):
        stem = object_id(BASINS.get(name, name), points[index])
        identity = f"{stem}_bar_{name}" if name in BASINS else stem
        built.append(Receptacle(identity, name, rtype, location_id(place), openable, points[index]))
    taken = {receptacle.location for receptacle in built}
    places = [receptacle[2] for receptacle in receptacles]
    low_x, high_x = min(p[0] for p in places), max(p[0] for p in places)
    low_z, high_z = min(p[1] for p in places), max(p[1] for p in places)
    free: list[str] = []
    while len(free) < 9:  # the official scenes have about nine locations without a receptacle
        x, z = rng.randint(low_x, high_x), rng.randint(low_z, high_z)
        spot = location_id((x, z, rng.randrange(4), rng.choice((30, 45))))
        if spot not in taken:
            taken.add(spot)
            free.append(spot)
    return Room(scene, kind, tuple(built), tuple(fixed), objects, tuple(free[:3]), tuple(free[3:]))


@cache
def full_rooms(unseen: bool) -> tuple[Room, ...]:
    """The rooms of the official training games: all but the last three of each kind, or just those (`unseen`)."""
    scenes = statistics()["scenes"]
    by_kind: dict[str, list[str]] = {}
    for scene, entry in scenes.items():
        by_kind.setdefault(entry["room"], []).append(scene)
    chosen = [s for names in by_kind.values() for s in (names[-HELD_OUT:] if unseen else names[:-HELD_OUT])]
    return tuple(_full_room(scene, scenes[scene]) for scene in chosen)


def _full_room(scene: str, entry: Mapping[str, Any]) -> Room:
    receptacles = []
    for kind, place, openable, *other_type in entry["receptacles"]:
        x, z, rotation, horizon = (int(number) for number in place.split(","))
        receptacles.append((kind, other_type[0] if other_type else kind, (x, z, rotation, horizon), bool(openable)))
    fixed = [(otype, tuple(indices), number) for otype, indices, number in entry["fixed"]]
    objects = {otype: (share, mean) for otype, (share, mean) in entry["objects"].items()}
    return build_room(scene, entry["room"], receptacles, fixed, objects)
