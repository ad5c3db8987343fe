"""Benchmarks by name, whatever their source: generated here, a local folder, or the hub."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from encore.benchmarks import procedural, readers
from encore.benchmarks.items import SPLITS, Benchmark, Item, card
from encore.benchmarks.published import BENCHMARKS
from encore.errors import UserError

SOURCES = ("procedural", "local", "hub")
ENVIRONMENT = "ENCORE_NOVER"
PROCEDURAL_SIZES = {"train": 400, "validation": 200, "test": 100}


@dataclass(frozen=True)
class BenchmarkSettings:
    """Which benchmarks, and how many rows of them.

    Attributes:
        names: benchmarks of the source.
        source: procedural (generated here), local (a folder of the published files) or hub.
        path: that folder; null: $ENCORE_NOVER.
        train, validation, test: rows at most, drawn with `seed`; null: all (procedural: 400, 200, 100).
        checkable: of free answers only those that a rule can check: an option, a number or a few words.
        drop_tested: take out of training what is asked word for word in the test (GeneralThoughts and WebInstruct have
            such rows).
        revisions: hub revision by repository; default: its main branch, whose commit the data card then names.
    """

    names: list[str] = field(default_factory=lambda: ["reasoning", "choice"])
    source: str = "procedural"
    path: str | None = None
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    seed: int = 0
    checkable: bool = False
    drop_tested: bool = True
    revisions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise UserError(f"maestro.benchmarks.source is '{self.source}': choose from {', '.join(SOURCES)}")
        if not self.names:
            raise UserError("maestro.benchmarks.names is empty: name at least one benchmark")
        for name in self.names:
            known(name, self.source)
        for split in SPLITS:
            size = getattr(self, split)
            if size is not None and size < 1:
                raise UserError(f"maestro.benchmarks.{split} is {size}: at least 1, or null for all there are")


def names(source: str) -> list[str]:
    """Names of the benchmarks of a source."""
    return list(procedural.KINDS if source == "procedural" else BENCHMARKS)


def known(name: str, source: str) -> str:
    """The name itself. Raises UserError if the source has no such benchmark."""
    if name not in names(source):
        listed = ", ".join(names(source))
        raise UserError(f"benchmark '{name}' is not to be had from source {source}: choose from {listed}")
    return name


def load(name: str, settings: BenchmarkSettings, checks: Callable[[Item], bool] | None = None) -> Benchmark:
    """The benchmark `name` of the settings' source.

    `checks` says which rows a rule can check; it is needed where `settings.checkable` is set. Raises UserError if the
    source has none of that name, its data are not to be had, or a split has another size than was published.
    """
    known(name, settings.source)
    if settings.source == "procedural":
        sizes = {split: getattr(settings, split) or PROCEDURAL_SIZES[split] for split in SPLITS}
        return procedural.load(name, sizes, settings.seed)
    published = BENCHMARKS[name]
    if settings.source == "local":
        read = readers.local(published, root(settings))
    else:
        read = readers.hub(published, settings.revisions.get(published.repository))
    notes = [read.notes] if read.notes else []
    parts = dict(read.rows)
    tested = {item.question for item in parts["test"]}
    leaked = [item for item in parts["train"] if item.question in tested]
    if leaked:
        left_out = ", left out" if settings.drop_tested else ""
        notes.append(f"{len(leaked)} training rows ask what a test row asks word for word{left_out}")
        if settings.drop_tested:
            parts["train"] = [item for item in parts["train"] if item.question not in tested]
    if settings.checkable and published.metric == "answer_match":  # the other metrics check every answer
        if checks is None:
            raise ValueError("settings.checkable needs the function that says which rows can be checked")
        before = sum(len(rows) for rows in parts.values())
        parts = {split: [item for item in rows if checks(item)] for split, rows in parts.items()}
        notes.append(f"only the {sum(len(rows) for rows in parts.values())} of {before} rows that a rule can check")
    parts = {
        split: _sample(rows, getattr(settings, split), f"{settings.seed}:{name}:{split}")
        for split, rows in parts.items()
    }
    about = {"licence": published.licence, "source": read.source, "revision": read.revision, "notes": "; ".join(notes)}
    cards = [card(name, split, rows, **about) for split, rows in parts.items()]
    return Benchmark(name, published.kind, published.metric, parts["train"], parts["validation"], parts["test"], cards)


def root(settings: BenchmarkSettings) -> Path:
    """The folder of local data. Raises UserError where none is named or there."""
    named = settings.path or os.environ.get(ENVIRONMENT)
    if not named:
        raise UserError(
            f"maestro.benchmarks.source is local: name its folder in maestro.benchmarks.path or ${ENVIRONMENT}"
        )
    path = Path(named).expanduser()
    if not path.is_dir():
        raise UserError(f"maestro.benchmarks.path {path}: there is no such folder")
    return path


def _sample(rows: list[Item], size: int | None, seed: str) -> list[Item]:
    if size is None or size >= len(rows):
        return rows
    return [rows[place] for place in sorted(random.Random(seed).sample(range(len(rows)), size))]
