"""Small rooms: five to nine receptacles, for language models of a few million parameters on a CPU.

A small scene is a room kind and a set of receptacles. All sets that the table allows are listed, a fixed sample of each
size is kept, and every fifth set is held out: so a training game never shows the receptacles of an unseen one.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from random import Random

from .rooms import BASINS, Room, build_room, statistics

# Number of receptacles -> scenes kept of each room kind. Few receptacles make short episodes, hence the slope.
SCENES_OF_SIZE = {5: 60, 6: 60, 7: 40, 8: 25, 9: 15}
UNSEEN_EVERY = 5  # one scene in five is held out
P_OPENABLE = 0.84  # share of drawers, cabinets and safes with a door that opens, in the official scenes
P_SAME_PLACE = 0.5  # share of receptacles at the place of a neighbour of their own class; 14 % of all, officially
SOMETIMES_OPENABLE = ("Cabinet", "Drawer", "Safe")
ALWAYS_OPENABLE = ("Fridge", "Microwave")
LAMP_STANDS = ("Desk", "SideTable", "Dresser", "Shelf", "CoffeeTable")  # where the official rooms have desk lamps

# Least and greatest number of each receptacle class in a room.
LIMITS: dict[str, dict[str, tuple[int, int]]] = {
    "kitchen": {
        "Fridge": (0, 1), "Microwave": (0, 1), "SinkBasin": (1, 1), "CounterTop": (1, 2), "Cabinet": (0, 3),
        "Drawer": (0, 2), "DiningTable": (0, 1), "GarbageCan": (0, 1), "Shelf": (0, 1), "SideTable": (0, 1),
        "StoveBurner": (0, 2), "CoffeeMachine": (0, 1),
    },
    "living": {
        "Sofa": (1, 1), "ArmChair": (0, 2), "Cabinet": (0, 2), "CoffeeTable": (0, 1), "DiningTable": (0, 1),
        "Drawer": (0, 3), "Dresser": (0, 1), "GarbageCan": (0, 1), "Ottoman": (0, 1), "Shelf": (0, 2),
        "SideTable": (1, 2), "TVStand": (0, 1),
    },
    "bedroom": {
        "Bed": (1, 1), "Desk": (0, 1), "SideTable": (0, 2), "Drawer": (0, 3), "Dresser": (0, 1), "Shelf": (0, 2),
        "ArmChair": (0, 1), "Cabinet": (0, 2), "GarbageCan": (0, 1), "LaundryHamper": (0, 1), "Safe": (0, 1),
    },
    "bathroom": {
        "SinkBasin": (1, 1), "Toilet": (1, 1), "GarbageCan": (0, 1), "CounterTop": (0, 1), "Cabinet": (0, 3),
        "Drawer": (0, 2), "BathtubBasin": (0, 1), "Shelf": (0, 2), "HandTowelHolder": (0, 1), "TowelHolder": (0, 1),
        "ToiletPaperHanger": (0, 1), "Cart": (0, 1), "SideTable": (0, 1),
    },
}  # fmt: skip


def _layouts(kind: str) -> dict[int, list[tuple[str, ...]]]:
    """The kept sets of receptacle classes of a room kind by their size, in a fixed order."""
    limits = LIMITS[kind]
    # The order of ids: a basin sorts under its fixture ("sink_bar_..."), with "_" before letters.
    names = sorted(limits, key=lambda name: f"{BASINS.get(name, name)}_".lower())
    by_size: dict[int, list[tuple[str, ...]]] = {size: [] for size in SCENES_OF_SIZE}
    for counts in product(*(range(limits[name][0], limits[name][1] + 1) for name in names)):
        if sum(counts) in by_size:
            by_size[sum(counts)].append(tuple(n for n, count in zip(names, counts, strict=True) for _ in range(count)))
    rng = Random(f"small rooms/{kind}")
    return {size: rng.sample(sets, min(SCENES_OF_SIZE[size], len(sets))) for size, sets in by_size.items()}


@cache
def small_rooms(unseen: bool) -> tuple[Room, ...]:
    """The small rooms for training and seen games, or those held out for unseen ones."""
    return tuple(
        _small_room(f"small-{kind}-{size}-{number:03d}", kind, layout)
        for kind in LIMITS
        for size, layouts in _layouts(kind).items()
        for number, layout in enumerate(layouts)
        if (number % UNSEEN_EVERY == UNSEEN_EVERY - 1) == unseen
    )


def _small_room(scene: str, kind: str, layout: tuple[str, ...]) -> Room:
    rng = Random(f"small room/{scene}")
    receptacles: list[tuple[str, str, tuple[int, int, int, int], bool]] = []
    for name in layout:
        openable = name in ALWAYS_OPENABLE or (name in SOMETIMES_OPENABLE and rng.random() < P_OPENABLE)
        # Only neighbours of one class share a place, like two drawers of one chest.
        shared = receptacles and receptacles[-1][0] == name and rng.random() < P_SAME_PLACE
        places = {receptacle[2] for receptacle in receptacles}
        place = receptacles[-1][2] if shared else _free_place(places, rng)
        receptacles.append((name, name, place, openable))
    stands = [index for index, name in enumerate(layout) if name in LAMP_STANDS]
    fixed = []
    if kind in ("bedroom", "living") and stands:
        fixed.append(("DeskLamp", (rng.choice(stands),), 1))
    pickupable = statistics()["affordances"]["pickupable"]
    shares = statistics()["rooms"][kind]["objects"]
    objects = {otype: (share, 1.0) for otype, share in shares.items() if otype in pickupable}
    return build_room(scene, kind, receptacles, fixed, objects)


def _free_place(taken: set[tuple[int, int, int, int]], rng: Random) -> tuple[int, int, int, int]:
    while True:
        place = (rng.randint(-6, 6), rng.randint(-6, 6), rng.randrange(4), rng.choice((30, 45, 60)))
        if place not in taken:
            return place
