"""The sentences of the game (alfworld/data/alfred.twl2) in its three dialects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING_HAPPENS = "Nothing happens."
MIDDLE_OF_ROOM = "You are in the middle of a room. Looking quickly around you, you see "
HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the versions of the game's text; `put` and `put_done` are format strings of item, place."""

    name: str
    put: str
    put_done: str
    arrive_at_location: bool = False  # "You arrive at loc 7." instead of the receptacle
    has_help: bool = True


DIALECTS = {
    "2.1.3": Dialect("2.1.3", "move {} to {}", "You move the {} to the {}."),
    "classic": Dialect("classic", "put {} in/on {}", "You put the {} in/on the {}."),
    "2.1.1": Dialect("2.1.1", "put {} in/on {}", "You put the {} in/on the {}.", True, False),
}


def dialect_named(name: str) -> Dialect:
    """The dialect of that name; ValueError names the choices."""
    if name not in DIALECTS:
        raise ValueError(f"unknown dialect {name!r}: choose one of {', '.join(DIALECTS)}")
    return DIALECTS[name]


def listing(names: Sequence[str], article: str = "a ") -> str:
    """ "nothing", "a X" or "a X, a Y, and a Z"; the comma before "and" also stands between two."""
    if not names:
        return "nothing"
    if len(names) == 1:
        return article + names[0]
    return f"{article}{f', {article}'.join(names[:-1])}, and {article}{names[-1]}"


def intro(receptacles: Sequence[str], goal_text: str) -> str:
    """The first observation of an episode."""
    room = f"{MIDDLE_OF_ROOM}{listing(receptacles)}."
    return f"-= Welcome to TextWorld, ALFRED! =-\n\n{room}\n\nYour task is to: {goal_text}"


def held_object(name: str, inner: Iterable[str] | None, *, clean: bool, hot: bool, cool: bool, sliced: bool) -> str:
    """What `examine` says of the held object; `inner` is None unless it is an object that can hold others."""
    if inner is not None:
        return f"This is a normal {name}. In it, you see {listing(list(inner))}."
    if sliced and not (clean or hot or cool):
        return f"This is a sliced {name}."
    if not (clean or hot or cool):
        return f"There's nothing special about {name}."
    if clean:
        state = "hot and clean" if hot else "cool and clean" if cool else "clean"
    elif hot:
        state = "hot"
    else:
        state = "cool" if sliced else "cold"
    return f"This is a {state} {'sliced ' if sliced else ''}{name}."
