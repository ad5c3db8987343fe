"""What wins a game: the goal of a problem file, which has one form for each of the six task types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from sys import intern

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)


class DamagedGame(ValueError):
    """A game that cannot be played; the message is one line with the reason."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What wins, in lower-case PDDL types: the six task types have exactly one form each.

    With `lamp_type`: hold an object of `object_type` where a lamp of that type is on. Otherwise: `count` different
    objects of `object_type`, each in the state `condition`, in one and the same receptacle of `receptacle_type`.
    """

    object_type: str
    receptacle_type: str = ""
    condition: str = ""  # "", "clean", "hot" or "cool"
    count: int = 1
    lamp_type: str = ""

    @property
    def task_type(self) -> str:
        """The ALFRED name of the task type, one of `TASK_TYPES`."""
        if self.lamp_type:
            return "look_at_obj_in_light"
        if self.count == 2:
            return "pick_two_obj_and_place"
        verb = {"clean": "clean", "hot": "heat", "cool": "cool"}.get(self.condition)
        return f"pick_{verb}_then_place_in_recep" if verb else "pick_and_place_simple"


_PLACE = re.compile(
    r"\(:goal \(and \(exists \(\?r - receptacle\) \(exists \(\?o - object\) \(and ((?:\([^()]+\) ?)+)\) ?\) ?\) ?\) ?\)"
)
_TWO = re.compile(
    r"\(:goal \(and \(exists \(\?r - receptacle\) \(exists \(\?o1 - object\) \(and \(objecttype \?o1 (\S+)\) "
    r"\(receptacletype \?r (\S+)\) \(inreceptacle \?o1 \?r\) \(exists \(\?o2 - object\) \(and "
    r"\(not \(= \?o1 \?o2\) ?\) \(objecttype \?o2 \1\) \(receptacletype \?r \2\) \(inreceptacle \?o2 \?r\) ?"
    r"\) ?\) ?\) ?\) ?\) ?\) ?\)"
)
_LOOK = re.compile(
    r"\(:goal \(and \(exists \(\?ot - object \?r - receptacle \?a - agent \?l - location\) \(and "
    r"\(objecttype \?ot (\S+)\) \(toggleable \?ot\) \(istoggled \?ot\) \(receptacleatlocation \?r \?l\) "
    r"\(atlocation \?a \?l\) \(inreceptacle \?ot \?r\) ?\) ?\) "
    r"\(exists \(\?o - object \?a - agent\) \(and \(objecttype \?o (\S+)\) \(holds \?a \?o\) ?\) ?\) ?\) ?\)"
)
_ATOM = re.compile(r"\(([^()]*)\)")
_CONDITIONS = {
    frozenset[str](): "",
    frozenset({"cleanable", "isclean"}): "clean",
    frozenset({"heatable", "ishot"}): "hot",
    frozenset({"coolable", "iscool"}): "cool",
}


def parse_goal(text: str) -> Goal:
    """The goal in a `(:goal ...)` expression; raises DamagedGame unless it has the form of one of the task types."""
    text = " ".join(text.replace("(", " (").replace(")", ") ").lower().split())
    text = text.replace("( ", "(").replace(" )", ")").replace("))", ") )")
    if match := _TWO.match(text):
        return Goal(intern(match[1]), intern(match[2]), count=2)
    if match := _LOOK.match(text):
        return Goal(intern(match[2]), lamp_type=intern(match[1]))
    if match := _PLACE.match(text):
        atoms: dict[str, str] = dict(a.split(" ", 1) for a in _ATOM.findall(match[1]))
        item, receptacle = atoms.pop("objecttype", "").split(), atoms.pop("receptacletype", "").split()
        placed = atoms.pop("inreceptacle", "") == "?o ?r"
        condition = _CONDITIONS.get(frozenset(atoms))
        if placed and item[:1] == ["?o"] and receptacle[:1] == ["?r"] and condition is not None:
            return Goal(intern(item[1]), intern(receptacle[1]), condition)
    raise DamagedGame(f"the goal has the form of no task type: {text[:80]!r}")
