"""A hand-written room with one of each oddity of the official problems, and games in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfworld_env import Game

PLACED = "(inReceptacle ?o ?r) (objectType ?o {item}Type) (receptacleType ?r {place}Type)"
GOALS = {
    "pick_and_place_simple": PLACED,
    "pick_clean_then_place_in_recep": f"{PLACED} (cleanable ?o) (isClean ?o)",
    "pick_heat_then_place_in_recep": f"{PLACED} (heatable ?o) (isHot ?o)",
    "pick_cool_then_place_in_recep": f"{PLACED} (coolable ?o) (isCool ?o)",
}
TWO = """(exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {item}Type)
    (receptacleType ?r {place}Type) (inReceptacle ?o1 ?r) (exists (?o2 - object)
    (and (not (= ?o1 ?o2)) (objectType ?o2 {item}Type) (receptacleType ?r {place}Type) (inReceptacle ?o2 ?r) )))))"""
LOOK = """(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot {place}Type)
    (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r) ))
    (exists (?o - object ?a - agent) (and (objectType ?o {item}Type) (holds ?a ?o) ))"""

# name, type, location, openable. The countertop and the cabinet share a location.
RECEPTACLES = (
    ("Cabinet_bar_1", "Cabinet", "loc_bar_1", True),
    ("CounterTop_bar_1", "CounterTop", "loc_bar_1", False),
    ("CounterTop_bar_2", "CounterTop", "loc_bar_2", False),
    ("Desk_bar_1", "Desk", "loc_bar_3", False),
    ("Fridge_bar_1", "Fridge", "loc_bar_4", True),
    ("Microwave_bar_1", "Microwave", "loc_bar_5", True),
    ("Sink_bar_1_bar_SinkBasin", "SinkBasin", "loc_bar_6", False),
)
# name, type, receptacles, location
OBJECTS = (
    ("Apple_bar_1", "Apple", ("Fridge_bar_1",), "loc_bar_4"),
    ("Apple_bar_2", "Apple", ("CounterTop_bar_2", "Desk_bar_1"), "loc_bar_2"),
    ("Bread_bar_1", "Bread", ("Cabinet_bar_1",), "loc_bar_1"),
    ("DeskLamp_bar_1", "DeskLamp", ("Desk_bar_1",), "loc_bar_3"),
    ("Knife_bar_1", "Knife", ("CounterTop_bar_1",), "loc_bar_1"),
    ("Mug_bar_1", "Mug", ("CounterTop_bar_2",), "loc_bar_2"),
    ("Mug_bar_2", "Mug", ("Cabinet_bar_1",), "loc_bar_1"),
    ("Spoon_bar_1", "Spoon", ("CounterTop_bar_2",), "loc_bar_2"),
    ("Window_bar_1", "Window", (), "loc_bar_3"),
)
FIXED = {"DeskLamp", "Window"}
AFFORDANCES = {
    "cleanable": {"Apple", "Mug", "Spoon", "Knife"},
    "heatable": {"Apple", "Bread", "Mug"},
    "coolable": {"Apple", "Bread", "Mug"},
    "sliceable": {"Apple", "Bread"},
    "isReceptacleObject": {"Mug"},
    "toggleable": {"DeskLamp"},
}


def problem_text(task_type: str, item: str, place: str) -> str:
    otypes = sorted({o[1] for o in OBJECTS} | {"ButterKnife"})
    rtypes = sorted({r[1] for r in RECEPTACLES})
    locations = [f"loc_bar_{i}" for i in range(7)]
    declared = ["agent1 - agent", *(f"{name} - location" for name in locations)]
    declared += [f"{t} - object" for t in otypes] + [f"{t}Type - otype" for t in otypes]
    declared += [f"{t}Type - rtype" for t in rtypes]
    declared += [f"{o[0]} - object" for o in OBJECTS] + [f"{r[0]} - receptacle" for r in RECEPTACLES]
    facts = ["atLocation agent1 loc_bar_0"]
    for name, type_, location, openable in RECEPTACLES:
        facts += [f"receptacleType {name} {type_}Type", f"receptacleAtLocation {name} {location}"]
        facts += [f"openable {name}"] if openable else []
    for name, type_, places, location in OBJECTS:
        facts += [f"objectType {name} {type_}Type", f"objectAtLocation {name} {location}"]
        facts += [f"inReceptacle {name} {r}" for r in places]
        facts += [f"pickupable {name}"] if type_ not in FIXED else []
        facts += [f"{affordance} {name}" for affordance, types in AFFORDANCES.items() if type_ in types]
    facts += [f"canContain {r}Type {o}Type" for r in rtypes for o in otypes if o not in FIXED and r + o != "DeskSpoon"]
    facts += [
        "inReceptacleObject Spoon_bar_1 Mug_bar_1",
        "inReceptacleObject Mug_bar_2 Mug_bar_2",
        "isCool Apple_bar_1",
    ]
    if task_type == "look_at_obj_in_light":
        goal = LOOK
    elif task_type == "pick_two_obj_and_place":
        goal = TWO
    else:
        goal = f"(exists (?r - receptacle) (exists (?o - object) (and {GOALS[task_type]} )))"
    lines = "\n".join(declared)
    state = "\n".join(f"({fact})" for fact in facts)
    goal = goal.format(item=item, place=place)
    return f"(define (problem plan)\n(:domain alfred)\n(:objects\n{lines})\n(:init\n{state})\n(:goal (and {goal})))\n"


@pytest.fixture(scope="session")
def make_game() -> Callable[[str, str, str], Game]:
    """`make_game(task_type, "Mug", "Desk")`: a game in the hand-written room."""

    def make(task_type: str = "pick_and_place_simple", item: str = "Mug", place: str = "Desk") -> Game:
        name = f"train/{task_type}-{item}-None-{place}-1/trial_1"
        return Game(name, task_type, f"put a {item} in {place}.".lower(), problem_text(task_type, item, place))

    return make


@pytest.fixture(scope="session")
def official_games(shared: Callable[[str], Path], read_jsonl_xz: Callable[[Path], list[Any]]) -> dict[str, Game]:
    """All 3,827 playable official games by id; skips where they are not on this machine."""
    records = read_jsonl_xz(shared("fixtures/alfworld/alfworld_games.jsonl.xz"))
    fields = ("id", "task_type", "task", "pddl_problem", "split", "scene")
    return {record["id"]: Game(*(record[field] for field in fields)) for record in records}
