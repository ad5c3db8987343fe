"""Constraints on a text that a program can check: words to use or to avoid, how it begins, how long it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from encore.errors import UserError

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$|[\"'”’)])")
_FIRST_PERSON = {"i", "i'm", "i’m", "i'll", "i’ll", "i've", "i’ve", "me", "my", "we", "our", "us"}


def words(text: str) -> list[str]:
    """The words of a text in lower case; an apostrophe inside a word belongs to it."""
    return [word.lower() for word in _WORD.findall(text)]


def sentences(text: str) -> int:
    """Number of sentences, by their final marks; a text that ends without one counts its last part too."""
    text = text.strip()
    ends = len(_SENTENCE_END.findall(text))
    return ends + bool(text and text[-1] not in ".!?\"'”’)")


def _has(text: str, value: str) -> bool:
    wanted, found = words(value), words(text)
    return any(found[start : start + len(wanted)] == wanted for start in range(len(found) - len(wanted) + 1))


_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "contains": _has,
    "excludes": lambda text, value: not _has(text, value),
    "starts_with": lambda text, value: words(text)[: len(words(value))] == words(value),
    "sentences": lambda text, value: sentences(text) == int(value),
    "min_sentences": lambda text, value: sentences(text) >= int(value),
    "min_words": lambda text, value: len(words(text)) >= int(value),
    "max_words": lambda text, value: 0 < len(words(text)) <= int(value),
    "first_person": lambda text, value: bool(_FIRST_PERSON & set(words(text))),
}
KINDS = tuple(_CHECKS)


@dataclass(frozen=True)
class Constraint:
    """One requirement. `kind` is one of KINDS, `value` a word or phrase, a number as text, or empty."""

    kind: str
    value: str = ""

    def __post_init__(self) -> None:
        if self.kind not in _CHECKS:
            raise UserError(f"constraint '{self.kind}' is unknown: choose from {', '.join(KINDS)}")
        if self.kind in ("contains", "excludes", "starts_with") and not words(self.value):
            raise UserError(f"constraint '{self.kind}' has no word to look for: give it one")
        if self.kind.endswith(("sentences", "words")) and not self.value.isdecimal():
            raise UserError(f"constraint '{self.kind}' wants a whole number, got '{self.value}'")

    def satisfied(self, text: str) -> bool:
        """Whether `text` meets it; case and punctuation do not count."""
        return _CHECKS[self.kind](text, self.value)
