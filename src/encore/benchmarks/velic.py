"""Velic, an invented language: verb first, then object, then subject; adjectives follow; plural ends in -n.

The words are made from a fixed seed, so every run of every machine speaks the same language.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_NOUNS = ("cup", "egg", "book", "plate", "bowl", "apple", "fork", "spoon", "chair", "lamp")
_ADJECTIVES = ("red", "green", "blue", "small", "large", "warm", "soft")
_VERBS = ("heat", "find", "move", "open", "clean", "see")


def _lexicon() -> dict[str, str]:
    chance = random.Random("velic")
    syllables = [consonant + vowel for consonant in "bdklmnprst" for vowel in "aeiou"]
    made: dict[str, str] = {}
    for word in (*_NOUNS, *_ADJECTIVES, *_VERBS):
        while True:
            candidate = "".join(chance.sample(syllables, 2))
            if candidate not in made.values():
                made[word] = candidate
                break
    return made


LEXICON = _lexicon()
"""English to Velic, one to one."""


@dataclass(frozen=True)
class Sentence:
    """One sentence in both languages; `gloss` is its Velic words in English, in Velic order."""

    velic: str
    english: str
    gloss: str
    task_type: str


def sentence(chance: random.Random) -> Sentence:
    """A sentence of subject, verb and object, the nouns each with an adjective or without, and in either number."""
    verb = chance.choice(_VERBS)
    subject, thing = chance.sample(_NOUNS, 2)
    parts = []
    for noun in (subject, thing):
        adjective = chance.choice(_ADJECTIVES) if chance.random() < 0.5 else ""
        parts.append((noun, adjective, chance.random() < 0.3))
    many = parts[0][2]
    english = f"{_english(*parts[0])} {verb if many else verb + 's'} {_english(*parts[1])}"
    velic = " ".join([LEXICON[verb], _velic(*parts[1]), _velic(*parts[0])])
    gloss = " ".join([verb, _gloss(*parts[1]), _gloss(*parts[0])])
    adjectives = sum(bool(part[1]) for part in parts)
    return Sentence(velic, english, gloss, f"adjectives {adjectives}")


def _english(noun: str, adjective: str, plural: bool) -> str:
    return " ".join(part for part in ("the", adjective, noun + "s" * plural) if part)


def _velic(noun: str, adjective: str, plural: bool) -> str:
    return " ".join([LEXICON[noun] + "n" * plural, *([LEXICON[adjective]] if adjective else [])])


def _gloss(noun: str, adjective: str, plural: bool) -> str:
    return " ".join([noun + "s" * plural, *([adjective] if adjective else [])])
