"""The seven benchmarks as NOVER's authors split them, and how a row of each reads.

MAESTRO's percentages are whole counts of these test sizes, so its test sets are taken to be NOVER's (arXiv 2505.16022;
`thinkwee/NOVEReason_2k`, six of the seven in its repository's `dataset/*.csv`); SS-GEN is `FMiMiY/SS-GEN`. How SS-GEN's
prompt was worded in the paper is not known; the wording here is ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore.benchmarks.constraints import Constraint
from encore.benchmarks.items import Item

NOVER, SS_GEN = "thinkwee/NOVEReason_2k", "FMiMiY/SS-GEN"
TAIL = (
    "\n\nAnswer the question and return in the following format:\n\n<think>\n...\n</think>\n\n"
    "<answer>\n...\n</answer>\n"
)
_PAIR = re.compile(r"Translate the following text from (.+?) to (.+?):")
_COMMANDS = ("must", "have to")  # a Social Story describes and does not command


@dataclass(frozen=True)
class Published:
    """One benchmark.

    Attributes:
        file: its file (SS-GEN: its folder) in a local copy.
        aliases: parts of the name that it may have in the hub's column source_dataset, without signs, in lower case.
        sizes: rows of train, validation and test as published.
        metric: the checkable substitute for the paper's judge.
    """

    name: str
    title: str
    kind: str
    file: str
    repository: str
    aliases: tuple[str, ...]
    sizes: tuple[int, int, int]
    metric: str
    licence: str


_NO_LICENCE = "none stated by its carrier; see the original data set"
_EVEN = (2000, 1000, 1000)
BENCHMARKS: dict[str, Published] = {
    one.name: one
    for one in (
        Published(
            "natural_reasoning",
            "Natural Reasoning",
            "general reasoning",
            "nr.csv",
            NOVER,
            ("naturalreasoning",),
            _EVEN,
            "answer_match",
            "CC BY-NC 4.0",
        ),
        Published(
            "general_thoughts",
            "GeneralThoughts",
            "general reasoning",
            "gt.csv",
            NOVER,
            ("generalthought",),
            _EVEN,
            "answer_match",
            _NO_LICENCE,
        ),
        Published(
            "webinstruct",
            "WebInstruct",
            "general reasoning",
            "webit.csv",
            NOVER,
            ("webinstruct", "webit"),
            _EVEN,
            "answer_match",
            _NO_LICENCE,
        ),
        Published(
            "ss_gen",
            "SS-GEN",
            "creative writing",
            "ssgen",
            SS_GEN,
            (),
            (4068, 509, 508),
            "constraints",
            _NO_LICENCE,
        ),
        Published(
            "emobench",
            "EmoBench",
            "social intelligence",
            "emobench.csv",
            NOVER,
            ("emobench",),
            (272, 0, 128),
            "option_match",
            _NO_LICENCE,
        ),
        Published(
            "tombench",
            "ToMBench",
            "social intelligence",
            "tombench.csv",
            NOVER,
            ("tombench",),
            (1432, 571, 857),
            "option_match",
            _NO_LICENCE,
        ),
        Published(
            "opus_books",
            "OPUS-Books",
            "multilingual",
            "opus_books_all_pairs.csv",
            NOVER,
            ("opus",),
            _EVEN,
            "chrf",
            _NO_LICENCE,
        ),
    )
}


def item(benchmark: str, split: str, place: int, row: Mapping[str, Any]) -> Item:
    """The row as an item; its id is benchmark, split and place in the split.

    Raises KeyError or TypeError for a row of other columns, UserError (with the id) for one without prompt or
    reference.
    """
    name = f"{benchmark}-{split}-{place}"
    if benchmark == "ss_gen":
        return _story(name, row)
    prompt = row["prompt"]
    if not isinstance(prompt, str):  # a conversation, as TRL takes it
        prompt = "\n".join(turn["content"] for turn in prompt)
    found = _PAIR.search(prompt)
    pair = f"{found.group(1)} to {found.group(2)}" if found and benchmark == "opus_books" else ""
    return Item(name, prompt.strip(), (row["reference"] or "").strip(), task_type=pair)


def _story(name: str, row: Mapping[str, Any]) -> Item:
    """A Social Story: what it is about is given, what makes it one can be checked in part (SS-GEN's own criteria are
    for human judges)."""
    chapter, title = row["chapter"].strip(), row["title"].strip()
    prompt = (
        f'Write a Social Story for a child with autism spectrum disorder. Its title is "{title}". It belongs to the '
        f'chapter "{chapter}", which {row["explanation"].strip()}{TAIL}'
    )
    constraints = (
        Constraint("first_person"),
        Constraint("min_sentences", "5"),
        Constraint("min_words", "80"),
        Constraint("max_words", "400"),
        *(Constraint("excludes", word) for word in _COMMANDS),
    )
    return Item(name, prompt, (row["story_content"] or "").strip(), task_type=chapter, constraints=constraints)
