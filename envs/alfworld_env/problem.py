"""A PDDL problem file, read into indices that an engine and a planner can work on.

`parse_problem` reads the text of `initial_state.pddl` (the `pddl_problem` of a game); `build_problem` takes the facts
directly, for a generator that has them at hand. Both refuse what TextWorld could not play, with the reason. The names
and their numbers follow alfworld's Demangler (alfworld/agents/utils/misc.py, shuffle=False).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from sys import intern

from .goals import DamagedGame, Goal, parse_goal

OBJECT_TYPES = ("agent", "location", "receptacle", "object", "rtype", "otype")

# Predicates of an initial state and the types of their arguments (alfworld/data/alfred.pddl).
SIGNATURES: dict[str, tuple[str, ...]] = {
    "atlocation": ("agent", "location"),
    "receptacleatlocation": ("receptacle", "location"),
    "receptacletype": ("receptacle", "rtype"),
    "openable": ("receptacle",),
    "objecttype": ("object", "otype"),
    "objectatlocation": ("object", "location"),
    "inreceptacle": ("object", "receptacle"),
    "inreceptacleobject": ("object", "object"),
    "cancontain": ("rtype", "otype"),
    "pickupable": ("object",),
    "isreceptacleobject": ("object",),
    "cleanable": ("object",),
    "heatable": ("object",),
    "coolable": ("object",),
    "toggleable": ("object",),
    "sliceable": ("object",),
    "iscool": ("object",),
}


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """An initial state. Objects, receptacles and locations are indices in the order of their ids (the order of every
    list in the game's texts); names are those shown in the game ("cabinet 3"); types are lower-case PDDL types."""

    objects: tuple[str, ...]
    object_types: tuple[str, ...]  # "" where the problem gives none
    receptacles: tuple[str, ...]
    receptacle_types: tuple[str, ...]
    receptacle_locations: tuple[int, ...]
    locations: tuple[str, ...]
    start: int
    contents: tuple[tuple[int, ...], ...]  # for each receptacle its objects, ascending
    object_locations: tuple[frozenset[int], ...]
    inner: Mapping[int, tuple[int, ...]]  # object -> the objects nested in it; constant, without itself
    openable: frozenset[int]
    pickupable: frozenset[int]
    receptacle_objects: frozenset[int]
    cleanable: frozenset[int]
    heatable: frozenset[int]
    coolable: frozenset[int]
    toggleable: frozenset[int]
    sliceable: frozenset[int]
    cool: frozenset[int]
    can_contain: frozenset[tuple[str, str]]  # (receptacle type, object type)
    goal: Goal

    def accepts(self, receptacle: int, item: int) -> bool:
        """Whether the object may be put into the receptacle, by their types."""
        return (self.receptacle_types[receptacle], self.object_types[item]) in self.can_contain


def build_problem(types: Mapping[str, str], facts: Iterable[Sequence[str]], goal: Goal) -> Problem:
    """The problem made of `facts` such as ("inreceptacle", object, receptacle), all lower-case.

    `types` gives the PDDL type of every declared name. Raises DamagedGame for facts that the game could not play.
    """
    by_predicate: dict[str, list[Sequence[str]]] = defaultdict(list)
    for fact in facts:
        by_predicate[fact[0]].append(fact[1:])
    ids = _check(by_predicate, types)

    names = _display_names(sorted(ids))
    location_of = _single(by_predicate["receptacleatlocation"], "location")
    receptacle_ids = sorted(location_of)
    location_ids = sorted(i for i in ids if types[i] == "location")
    object_ids = sorted(i for i in ids if types[i] == "object")
    receptacles = {name: index for index, name in enumerate(receptacle_ids)}
    locations = {name: index for index, name in enumerate(location_ids)}
    objects = {name: index for index, name in enumerate(object_ids)}
    if not receptacles:
        raise DamagedGame("no receptacle has a location")
    starts = by_predicate["atlocation"]
    if len(starts) != 1:
        raise DamagedGame(f"the agent has {len(starts)} start locations, it needs one")
    for type_, kind in ((goal.object_type, "otype"), (goal.receptacle_type, "rtype"), (goal.lamp_type, "otype")):
        if type_ and types.get(type_) != kind:
            raise DamagedGame(f"the goal names the type {type_!r}, which is not declared")

    receptacle_types = _single(by_predicate["receptacletype"], "type")
    object_types = _single(by_predicate["objecttype"], "type")
    contents: list[set[int]] = [set() for _ in receptacle_ids]
    for item, receptacle in by_predicate["inreceptacle"]:
        if receptacle in receptacles:  # one without a location can never be reached
            contents[receptacles[receptacle]].add(objects[item])
    places: list[set[int]] = [set() for _ in object_ids]
    for item, location in by_predicate["objectatlocation"]:
        places[objects[item]].add(locations[location])
    inner: dict[int, set[int]] = defaultdict(set)
    for inside, outside in by_predicate["inreceptacleobject"]:
        if inside != outside:  # TextWorld binds the two variables to different things
            inner[objects[outside]].add(objects[inside])

    def having(predicate: str) -> frozenset[int]:
        return frozenset(objects[arguments[0]] for arguments in by_predicate[predicate])

    return Problem(
        objects=tuple(names[i] for i in object_ids),
        object_types=tuple(object_types.get(i, "") for i in object_ids),
        receptacles=tuple(names[i] for i in receptacle_ids),
        receptacle_types=tuple(receptacle_types.get(i, "") for i in receptacle_ids),
        receptacle_locations=tuple(locations[location_of[i]] for i in receptacle_ids),
        locations=tuple(names[i] for i in location_ids),
        start=locations[starts[0][1]],
        contents=tuple(tuple(sorted(items)) for items in contents),
        object_locations=tuple(frozenset(p) for p in places),
        inner={outer: tuple(sorted(items)) for outer, items in inner.items()},
        openable=frozenset(receptacles[a[0]] for a in by_predicate["openable"] if a[0] in receptacles),
        pickupable=having("pickupable"),
        receptacle_objects=having("isreceptacleobject"),
        cleanable=having("cleanable"),
        heatable=having("heatable"),
        coolable=having("coolable"),
        toggleable=having("toggleable"),
        sliceable=having("sliceable"),
        cool=having("iscool"),
        can_contain=frozenset((intern(a[0]), intern(a[1])) for a in by_predicate["cancontain"]),
        goal=goal,
    )


def _check(by_predicate: Mapping[str, list[Sequence[str]]], types: Mapping[str, str]) -> set[str]:
    """All names in the facts; DamagedGame for a fact that the domain does not know."""
    ids: set[str] = set()
    for predicate, rows in by_predicate.items():
        signature = SIGNATURES.get(predicate)
        if signature is None:
            raise DamagedGame(f"unknown fact in the initial state: ({' '.join([predicate, *rows[0]])})")
        if set(map(len, rows)) != {len(signature)}:
            raise DamagedGame(f"a fact ({predicate} ...) has not {len(signature)} argument(s)")
        for column, expected in zip(zip(*rows, strict=True), signature, strict=True):
            names = set(column)  # by column, since rows are many and a room has few names
            ids |= names
            for name in names:
                if types.get(name) != expected:
                    kind = "object type" if expected == "otype" else expected
                    raise DamagedGame(f"unknown {kind} {name!r} in a fact ({predicate} ...)")
    return ids


def _single(pairs: Iterable[Sequence[str]], what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if found.setdefault(name, intern(value)) != value:
            raise DamagedGame(f"{name} has more than one {what}: {found[name]} and {value}")
    return found


def _display_names(sorted_ids: Sequence[str]) -> dict[str, str]:
    """Demangler: the first id of a class with n members gets the number n, the last one gets 1."""
    classes = {}
    for name in sorted_ids:
        prefix, bar, _ = name.partition("_bar_")
        if bar:
            classes[name] = prefix + "basin" if "basin" in name else prefix
    left = Counter(classes.values())
    names = {}
    for name in sorted_ids:
        class_ = classes.get(name)
        if class_ is None:
            names[name] = name + " "
        else:
            names[name] = f"{class_} {left[class_]}"
            left[class_] -= 1
    return names


_INNERMOST = re.compile(r"\(([^()]*)\)")


@lru_cache(maxsize=128)  # groups of episodes play the same game, and an engine never changes its problem
def parse_problem(text: str) -> Problem:
    """The problem in the text of a PDDL problem file; raises DamagedGame with the reason if it cannot be played."""
    text = text.lower()  # the translator compares names so
    if ";" in text:
        text = re.sub(r";[^\n]*", "", text)
    if text.count("(") != text.count(")"):
        raise DamagedGame("the PDDL problem is cut off: its brackets do not match")
    objects_at, init_at, goal_at = text.find("(:objects"), text.find("(:init"), text.find("(:goal")
    if not 0 <= objects_at < init_at < goal_at:
        missing = [n for n, at in (("objects", objects_at), ("init", init_at), ("goal", goal_at)) if at < 0]
        raise DamagedGame(f"the PDDL problem has no (:{missing[0]}" if missing else "PDDL sections are out of order")
    init = text[init_at + 6 : goal_at]
    facts = [fact.split() for fact in _INNERMOST.findall(init)]
    if len(facts) != init.count("(") or not all(facts):
        raise DamagedGame("the initial state has a fact that is not (predicate argument ...)")
    return build_problem(_declared_types(text[objects_at + 9 : init_at]), facts, parse_goal(text[goal_at:]))


def _declared_types(section: str) -> dict[str, str]:
    tokens = section.replace(")", " ").split()
    types: dict[str, str] = {}
    waiting: list[str] = []
    stream = iter(tokens)
    for token in stream:
        if token != "-":
            waiting.append(token)
            continue
        type_ = next(stream, "")
        if type_ not in OBJECT_TYPES:
            raise DamagedGame(f"unknown object type {type_!r} of {' '.join(waiting)[:60]}")
        for name in waiting:
            if types.setdefault(name, type_) != type_:
                raise DamagedGame(f"{name!r} is declared twice: {types[name]} and {type_}")
        waiting.clear()
    if waiting:
        raise DamagedGame(f"{waiting[0]!r} is declared without a type")
    return types
