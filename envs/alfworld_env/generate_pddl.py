"""The text of a generated game: task sentence and problem file as the official generator of ALFRED writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from .rooms import Room, statistics

PAD = "        "
# Types that the domain or a goal names, which the real translator therefore wants declared in every problem.
NEEDED_RECEPTACLE_TYPES = ("SinkBasin", "Microwave", "Fridge")
NEEDED_OBJECT_TYPES = ("Knife", "ButterKnife", "DeskLamp", "FloorLamp")
AFFORDANCES = ("pickupable", "isReceptacleObject", "cleanable", "heatable", "coolable", "toggleable", "sliceable")

# Both sentences of each task (alfworld/gen/goal_library.py).
SENTENCES: dict[str, tuple[str, str]] = {
    "pick_and_place_simple": ("put a {object} in {receptacle}.", "put some {object} on {receptacle}."),
    "look_at_obj_in_light": ("look at {object} under the {lamp}.", "examine the {object} with the {lamp}."),
    "pick_clean_then_place_in_recep": (
        "put a clean {object} in {receptacle}.",
        "clean some {object} and put it in {receptacle}.",
    ),
    "pick_heat_then_place_in_recep": (
        "put a hot {object} in {receptacle}.",
        "heat some {object} and put it in {receptacle}.",
    ),
    "pick_cool_then_place_in_recep": (
        "put a cool {object} in {receptacle}.",
        "cool some {object} and put it in {receptacle}.",
    ),
    "pick_two_obj_and_place": (
        "put two {object} in {receptacle}.",
        "find two {object} and put them in {receptacle}.",
    ),
}

PLACE_GOAL = """
        (:goal
            (and
                (exists (?r - receptacle)
                    (exists (?o - object)
                        (and
                            (inReceptacle ?o ?r)
                            (objectType ?o {object}Type)
                            (receptacleType ?r {receptacle}Type)
                        )
                    )
                )
            )
        )
    )
"""
TREAT_GOAL = """
        (:goal
            (and
                (exists (?r - receptacle)
                    (exists (?o - object)
                        (and
                            ({able} ?o)
                            (objectType ?o {object}Type)
                            (receptacleType ?r {receptacle}Type)
                            ({treated} ?o)
                            (inReceptacle ?o ?r)
                        )
                    )
                )
            )
        )
    )
"""
TWO_GOAL = """
        (:goal
            (and
                (exists (?r - receptacle)
                    (exists (?o1 - object)
                        (and
                            (objectType ?o1 {object}Type)
                            (receptacleType ?r {receptacle}Type)
                            (inReceptacle ?o1 ?r)
                            (exists (?o2 - object)
                                (and
                                    (not (= ?o1 ?o2))
                                    (objectType ?o2 {object}Type)
                                    (receptacleType ?r {receptacle}Type)
                                    (inReceptacle ?o2 ?r)
                                )
                            )
                        )
                    )
                )
            )
        )
    )
"""
LIGHT_GOAL = """
        (:goal
             (and
                 (exists (?ot - object
                          ?r - receptacle
                          ?a - agent
                          ?l - location)
                     (and
                         (objectType ?ot {lamp}Type)
                         (toggleable ?ot)
                         (isToggled ?ot)
                         (receptacleAtLocation ?r ?l)
                         (atLocation ?a ?l)
                         (inReceptacle ?ot ?r)
                     )
                 )
                 (exists (?o - object
                          ?a - agent)
                     (and
                         (objectType ?o {object}Type)
                         (holds ?a ?o)
                     )
                 )
             )
        )
    )
"""
TREATMENTS = {"clean": ("cleanable", "isClean"), "heat": ("heatable", "isHot"), "cool": ("coolable", "isCool")}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a game asks for, as types without the ending "Type"; "" where the task has no receptacle or no lamp."""

    task_type: str
    object: str
    receptacle: str
    lamp: str

    def sentence(self, variant: int) -> str:
        """The task sentence with its full stop, from template 0 or 1."""
        return SENTENCES[self.task_type][variant].format(
            object=self.object.lower(), receptacle=self.receptacle.lower(), lamp=self.lamp.lower()
        )

    def pddl(self) -> str:
        """The goal section, and the bracket that ends the problem."""
        if self.task_type == "look_at_obj_in_light":
            return LIGHT_GOAL.format(lamp=self.lamp, object=self.object)
        if self.task_type == "pick_two_obj_and_place":
            return TWO_GOAL.format(object=self.object, receptacle=self.receptacle)
        if self.task_type == "pick_and_place_simple":
            return PLACE_GOAL.format(object=self.object, receptacle=self.receptacle)
        able, treated = TREATMENTS[self.task_type.split("_")[1]]
        return TREAT_GOAL.format(able=able, treated=treated, object=self.object, receptacle=self.receptacle)


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: the indices of the receptacles that hold it, its location, and whether it is cold from the start."""

    id: str
    type: str
    receptacles: tuple[int, ...]
    location: str
    cool: bool = False


@cache
def _affordances(otype: str) -> tuple[str, ...]:
    table = statistics()["affordances"]
    return tuple(name for name in AFFORDANCES if otype in table[name])


@cache
def _room_facts(room: Room) -> str:
    """Everything in :init that is the same in all games of a room."""
    lines = [f"(receptacleType {r.id} {r.type}Type)" for r in room.receptacles]
    lines += [f"(openable {r.id})" for r in room.receptacles if r.openable]
    lines += [f"(receptacleAtLocation {r.id} {r.location})" for r in room.receptacles]
    return "".join(f"{PAD}{line}\n" for line in lines)


@cache
def _declared_types(room: Room | None, otypes: frozenset[str]) -> str:
    """Type declarations: those of the official files (room None), or only those that a small game needs."""
    table = statistics()
    if room is None:
        # The official files also declare each class as an object; these occur in no fact.
        lines = [f"{otype} - object" for otype in table["object_types"]]
        object_types, receptacle_types = table["object_types"], table["receptacle_types"]
    else:
        lines = []
        object_types = sorted(otypes | set(NEEDED_OBJECT_TYPES))
        receptacle_types = sorted(room.receptacle_types | set(NEEDED_RECEPTACLE_TYPES))
    lines += [f"{otype}Type - otype" for otype in object_types]
    lines += [f"{rtype}Type - rtype" for rtype in receptacle_types]
    return "".join(f"{PAD}{line}\n" for line in lines)


@cache
def _room_objects(room: Room) -> str:
    lines = [f"{receptacle.id} - receptacle" for receptacle in room.receptacles]
    places = [*(receptacle.location for receptacle in room.receptacles), *room.starts, *room.corners]
    lines += [f"{place} - location" for place in dict.fromkeys(places)]  # each once: receptacles share places
    return "".join(f"{PAD}{line}\n" for line in lines)


@cache
def _can_contain(room: Room, otypes: frozenset[str]) -> str:
    """canContain facts between the types present, as in the official files."""
    table = statistics()["can_contain"]
    return "".join(
        f"{PAD}(canContain {rtype}Type {otype}Type)\n"
        for rtype in sorted(room.receptacle_types)
        for otype in table.get(rtype, ())
        if otype in otypes
    )


def problem_text(
    name: str,
    room: Room,
    things: Sequence[Thing],
    nested: Sequence[tuple[Thing, Thing]],
    start: str,
    goal: Goal,
    official_types: bool,
) -> str:
    """A PDDL problem in the layout of the official files.

    `nested` are pairs (inner, outer). `official_types` declares all types of the official files, not only those here.
    """
    otypes = frozenset(thing.type for thing in things)
    objects = [f"{thing.id} - object" for thing in things]
    facts = [f"(atLocation agent1 {start})"]
    for thing in things:
        identity = thing.id
        facts.append(f"(objectType {identity} {thing.type}Type)")
        facts += [f"({affordance} {identity})" for affordance in _affordances(thing.type)]
        facts += [f"(inReceptacle {identity} {room.receptacles[index].id})" for index in thing.receptacles]
        facts.append(f"(objectAtLocation {identity} {thing.location})")
        if thing.cool:
            facts.append(f"(isCool {identity})")
    facts += [f"(inReceptacleObject {inner.id} {outer.id})" for inner, outer in nested]
    separator = f"\n{PAD}"
    return (
        f"\n(define (problem {name})\n(:domain alfred)\n(:objects\nagent1 - agent\n"
        f"{_declared_types(None, frozenset()) if official_types else _declared_types(room, otypes)}\n"
        f"{PAD}{separator.join(objects)}\n{_room_objects(room)}{PAD})\n\n(:init\n"
        f"{_room_facts(room)}{_can_contain(room, otypes)}{PAD}{separator.join(facts)}\n{PAD})\n{goal.pddl()}"
    )
