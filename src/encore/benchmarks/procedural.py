"""Stand-ins that are generated here, one for each kind of benchmark, short enough for a tiny model on a CPU.

None of them measures what the benchmark it stands for measures: they have its form (a thought, an answer in tags, a
metric of the same name), so that every stage really runs and arms can differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from encore.benchmarks.constraints import Constraint
from encore.benchmarks.items import SPLITS, Benchmark, Item, card
from encore.benchmarks.velic import sentence
from encore.errors import UserError

_MISSES = 1000  # known questions drawn in a row before a kind counts as exhausted
_OBJECTS = ("mug", "pen", "cup", "egg", "book", "plate", "bowl", "apple", "knife", "fork", "spoon", "candle")
_PLACES = ("drawer", "fridge", "shelf", "desk", "sofa", "safe", "cabinet", "dresser", "sink", "bed")
_NAMES = ("Ann", "Bob", "Eve", "Sam", "Tom", "Ida")
_QUALITIES = ("warm", "clean", "cool", "small", "large", "soft", "red", "green", "blue")

Draw = Callable[[random.Random], dict[str, object]]


def _reasoning(chance: random.Random) -> dict[str, object]:
    """Two steps over stated facts: who has what, and what lies where."""
    people, things = chance.sample(_NAMES, 3), chance.sample(_OBJECTS, 3)
    places = chance.sample(_PLACES, 3)
    owned = [f"{person} has the {thing}." for person, thing in zip(people, things, strict=True)]
    laid = [f"The {thing} is in the {place}." for thing, place in zip(things, places, strict=True)]
    chance.shuffle(owned)
    chance.shuffle(laid)
    asked = chance.randrange(3)
    return {
        "prompt": f"Question: {' '.join(owned + laid)} Where is what {people[asked]} has?",
        "reference": places[asked],
        "thought": f"{people[asked]} has the {things[asked]}.",
        "task_type": f"fact {laid.index(f'The {things[asked]} is in the {places[asked]}.') + 1}",
    }


def _choice(chance: random.Random) -> dict[str, object]:
    """Who saw what: where somebody looks for a thing that was moved."""
    thing = chance.choice(_OBJECTS)
    first, second, third = chance.sample(_PLACES, 3)
    owner, mover = chance.sample(_NAMES, 2)
    leaves = chance.random() < 0.5
    asked = owner if chance.random() < 0.7 else mover
    options = chance.sample((first, second, third), 3)
    right = first if leaves and asked == owner else second
    saw = "did not see" if right == first else "did see"
    letter = "ABC"[options.index(right)]
    told = (
        f"{owner} puts the {thing} in the {first}. {owner} {'is out' if leaves else 'is in the room'}. "
        f"{mover} moves the {thing} to the {second}."
    )
    listed = "\n".join(f"{mark}. {option}" for mark, option in zip("ABC", options, strict=True))
    return {
        "prompt": f"Question: {told} Where does {asked} look?\nOptions:\n{listed}",
        "reference": f"{letter}. {right}",
        "thought": f"{asked} {saw}.",
        "task_type": "false belief" if right == first else "true belief",
    }


def _rewriting(chance: random.Random) -> dict[str, object]:
    """Two sentences out of given words, one of which is to be left out."""
    kept, dropped = chance.sample(_OBJECTS, 2)
    place, quality = chance.choice(_PLACES), chance.choice(_QUALITIES)
    both = [kept, dropped]
    chance.shuffle(both)
    start = chance.choice(("I", "You", "Now"))
    opening = {"I": "I look at the", "You": "You see the", "Now": "Now find the"}[start]
    return {
        "prompt": (
            f"Rewrite: look at the {both[0]} and the {both[1]}. Use: {quality}, {place}. Not: {dropped}. "
            f"Start with: {start}. Two sentences."
        ),
        "reference": f"{opening} {kept}. The {place} is {quality}.",
        "thought": f"{start}. {kept}, {quality}, {place}.",
        "task_type": f"starts with {start}",
        "constraints": (
            Constraint("starts_with", start),
            Constraint("contains", kept),
            Constraint("contains", quality),
            Constraint("contains", place),
            Constraint("excludes", dropped),
            Constraint("sentences", "2"),
            Constraint("max_words", "12"),
        ),
    }


def _translation(chance: random.Random) -> dict[str, object]:
    """A sentence of an invented language into English."""
    made = sentence(chance)
    return {
        "prompt": f"Translate the following text from Velic to English: {made.velic}",
        "reference": made.english,
        "thought": made.gloss,
        "task_type": made.task_type,
    }


KINDS: dict[str, tuple[Draw, str, str]] = {  # name: generator, metric, what it stands for
    "reasoning": (_reasoning, "exact_match", "Natural Reasoning, GeneralThoughts, WebInstruct"),
    "choice": (_choice, "option_match", "ToMBench, EmoBench"),
    "rewriting": (_rewriting, "constraints", "SS-GEN"),
    "translation": (_translation, "chrf", "OPUS-Books"),
}


def load(name: str, sizes: dict[str, int], seed: int) -> Benchmark:
    """The stand-in `name` with `sizes` rows by split; no question stands twice, within or across splits.

    Rows of a split depend on the seed and the split's own size alone in so far as no question repeats. Raises UserError
    for a kind that has not so many questions.
    """
    draw, metric, stands_for = KINDS[name]
    taken: set[str] = set()
    made: dict[str, list[Item]] = {}
    for split in reversed(SPLITS):  # the test first, so that it does not depend on the size of the training
        chance = random.Random(f"{name}-{split}-{seed}")
        rows: list[Item] = []
        misses = 0
        while len(rows) < sizes[split] and misses < _MISSES:
            item = Item(id=f"{name}-{split}-{len(rows)}", **draw(chance))  # type: ignore[arg-type]
            if item.question in taken:
                misses += 1
                continue
            misses = 0
            taken.add(item.question)
            rows.append(item)
        if len(rows) < sizes[split]:
            raise UserError(
                f"stand-in {name} has no {sizes[split]} new questions for {split}: lower maestro.benchmarks.{split}"
            )
        made[split] = rows
    about = {
        "licence": "Apache-2.0; generated here",
        "source": f"encore.benchmarks.procedural, seed {seed}",
        "revision": "encore",
        "notes": f"a stand-in for {stands_for}",
    }
    cards = [card(name, split, made[split], **about) for split in SPLITS]
    return Benchmark(name, name, metric, made["train"], made["validation"], made["test"], cards)
