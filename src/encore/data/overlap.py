"""Does a pool hold what is tested on? Shared runs of 13 words, the usual check for contamination (GPT-3, appendix C).

Texts of 8 to 12 words count as a whole; shorter ones say nothing and are not compared. A run of words that many pool
rows share is a template ("Answer with the number only"), no leak; such hits are counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from encore.errors import UserError

NGRAM = 13
SHORTEST = 8
TEMPLATE_ROWS = 5  # a run of words in more pool rows than these is a template
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Overlap:
    """How many evaluation texts share a run of words with the pool.

    `hits` are evaluation texts with a shared run that is no template; `template_hits` those whose shared runs all are.
    `examples` lists (place in evaluation, place in pool, words) of the first few hits.
    """

    evaluated: int
    compared: int
    hits: int
    template_hits: int
    examples: list[tuple[int, int, str]] = field(default_factory=list)


def ngram_overlap(
    pool: Sequence[str], evaluation: Sequence[str], n: int = NGRAM, keep: int = 10, template_rows: int = TEMPLATE_ROWS
) -> Overlap:
    """The overlap of `evaluation` with `pool`; case and punctuation do not count.

    Texts are compared as they are given: whole rows, or questions alone, where a short one would otherwise hide behind
    another answer. Raises UserError if there is nothing to compare with.
    """
    if not pool or not evaluation:
        raise UserError(f"no overlap to look for: the {'evaluation' if pool else 'pool'} has no text")
    wanted: dict[str, list[int]] = {}
    compared = 0
    for place, text in enumerate(evaluation):
        runs = list(_runs(text, n))
        compared += bool(runs)
        for run in runs:
            wanted.setdefault(run, []).append(place)
    shortest = sorted({len(run.split()) for run in wanted if len(run.split()) < n})
    found: dict[str, set[int]] = {}
    for place, text in enumerate(pool):
        words = _WORD.findall(text.lower())
        for size in [n, *shortest]:
            for start in range(len(words) - size + 1):
                run = " ".join(words[start : start + size])
                if run in wanted:
                    found.setdefault(run, set()).add(place)
    hit: dict[int, tuple[int, str]] = {}
    template: set[int] = set()
    for run, rows in found.items():
        for place in wanted[run]:
            if len(rows) > template_rows:
                template.add(place)
            else:
                hit.setdefault(place, (min(rows), run))
    examples = [(place, *hit[place]) for place in sorted(hit)[:keep]]
    return Overlap(len(evaluation), compared, len(hit), len(template - set(hit)), examples)


def _runs(text: str, n: int) -> Iterable[str]:
    words = _WORD.findall(text.lower())
    if len(words) >= n:
        return {" ".join(words[start : start + n]) for start in range(len(words) - n + 1)}
    return {" ".join(words)} if len(words) >= SHORTEST else set()
