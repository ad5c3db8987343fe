"""Instructions that are generated here: families of reasoning-gym, easy enough for a tiny model.

The pool is 20 families in equal parts. A target is a mixed exam over three of them, so what helps it is spread over
several families of the pool and none is marked. Validation, evaluation and pool never share a question (as a text: the
same numbers may come in other words).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from encore.data.cards import DataCard
from encore.data.instructions import Instruction
from encore.data.registry_types import Pool, Target
from encore.errors import UserError

# Sizes that keep numbers and words short: one or two digits, three or four letters.
FAMILIES: dict[str, dict[str, Any]] = {
    "basic_arithmetic": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1, "operators": ("+", "-")},
    "calendar_arithmetic": {"tasks": ["is_leap_year", "weekday_of_date"]},
    "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    "count_bits": {"min_n": 1, "max_n": 1023},
    "count_primes": {"min_n": 1, "max_n": 40},
    "decimal_chain_sum": {
        "min_terms": 2,
        "max_terms": 2,
        "min_digits": 1,
        "max_digits": 1,
        "min_decimal_places": 1,
        "max_decimal_places": 1,
    },
    "family_relationships": {"min_family_size": 4, "max_family_size": 4},
    "fraction_simplification": {
        "min_value": 1,
        "max_value": 20,
        "min_factor": 1,
        "max_factor": 9,
        "styles": ("plain",),
    },
    "gcd": {"min_numbers": 2, "max_numbers": 2, "min_value": 2, "max_value": 60},
    "lcm": {"min_numbers": 2, "max_numbers": 2, "min_value": 2, "max_value": 30},
    "leg_counting": {"min_animals": 1, "max_animals": 1, "min_instances": 1, "max_instances": 9},
    "letter_counting": {"min_words": 2, "max_words": 4},
    "number_filtering": {
        "min_numbers": 3,
        "max_numbers": 3,
        "min_decimals": 0,
        "max_decimals": 0,
        "min_value": 0,
        "max_value": 9,
    },
    "number_sequence": {"min_terms": 4, "max_terms": 4, "min_value": 0, "max_value": 9, "max_complexity": 1},
    "products": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    "sentence_reordering": {"min_words_in_sentence": 3, "max_words_in_sentence": 6},
    "simple_equations": {"min_terms": 2, "max_terms": 2, "min_value": 1, "max_value": 9},
    "spell_backward": {"min_word_len": 3, "max_word_len": 5},
    "syllogism": {},
    "word_sequence_reversal": {"min_words": 2, "max_words": 3},
}
TARGETS = {
    "logic": ("calendar_arithmetic", "family_relationships", "syllogism"),
    "number_theory": ("count_primes", "gcd", "lcm"),
    "words": ("sentence_reordering", "spell_backward", "word_sequence_reversal"),
}
DOMAINS = {"logic": "reasoning", "number_theory": "maths", "words": "language"}
_TRIES = 60  # rows drawn for one new question before a family counts as exhausted
_STREAMS = {"evaluation": 1, "validation": 2, "pool": 3}
_STREAM_LENGTH = 1_000_000  # reasoning-gym seeds row i with seed + i


def pool(size: int, seed: int, without: Iterable[Instruction] = ()) -> Pool:
    """`size` rows in equal parts of every family, none with a question of `without`.

    Raises UserError for a size that the families do not share evenly, or one they cannot fill.
    """
    if size % len(FAMILIES):
        raise UserError(f"data.pool_size is {size}: the {len(FAMILIES)} families want a multiple of their number")
    taken = {row.question for row in without}
    rows = [row for name in FAMILIES for row in _draw(name, size // len(FAMILIES), seed, "pool", taken)]
    return Pool("families", rows, DataCard.of("families", "pool", rows, **_about(seed)))


def target(name: str, shots: int, evaluation: int, seed: int) -> Target:
    """Validation and evaluation rows of a target, each question once.

    Raises UserError for an unknown name or a family with too few questions.
    """
    if name not in TARGETS:
        raise UserError(f"target '{name}' is not procedural: choose from {', '.join(TARGETS)}")
    taken: set[str] = set()
    tested = [row for family in TARGETS[name] for row in _draw(family, evaluation, seed, "evaluation", taken)]
    shown = [row for family in TARGETS[name] for row in _draw(family, shots, seed, "validation", taken)]
    cards = [
        DataCard.of(name, role, rows, **_about(seed)) for role, rows in (("validation", shown), ("evaluation", tested))
    ]
    return Target(name, DOMAINS[name], shown, tested, cards)


def _draw(family: str, number: int, seed: int, stream: str, taken: set[str]) -> list[Instruction]:
    """`number` rows whose questions are not in `taken`, which grows by them."""
    import reasoning_gym

    start = (seed * len(_STREAMS) + _STREAMS[stream]) * _STREAM_LENGTH
    source = reasoning_gym.create_dataset(family, size=number * _TRIES, seed=start, **FAMILIES[family])
    rows: list[Instruction] = []
    for index in range(number * _TRIES):
        if len(rows) == number:
            break
        item = source[index]
        name, prompt = f"{family}-{stream}-{index}", item["question"].strip()
        row = Instruction(name, prompt, str(item["answer"]), family, subtask=family)
        if row.question not in taken:
            taken.add(row.question)
            rows.append(row)
    if len(rows) < number:
        raise UserError(f"family {family} has no {number} new questions for the {stream}: ask for fewer")
    return rows


def _about(seed: int) -> dict[str, str]:
    return {
        "licence": "Apache-2.0 (reasoning-gym); generated here",
        "source": f"reasoning-gym, procedural, seed {seed}",
        "revision": f"reasoning-gym {version('reasoning-gym')}",
    }
