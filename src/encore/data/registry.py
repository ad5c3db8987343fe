"""Pools and targets by name, whatever their source.

The same names serve a local folder and the hub: `data.source` decides. Procedural data has names of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from encore.data import hub, local, procedural
from encore.data.cards import DataCard
from encore.data.drawing import Fits
from encore.data.instructions import Instruction
from encore.data.registry_types import Pool, Target
from encore.data.settings import SOURCES, DataSettings
from encore.errors import UserError

__all__ = ["SOURCES", "Pool", "Target", "pool", "pool_names", "target", "target_names"]
PROCEDURAL_ROWS, PROCEDURAL_EVALUATION = 1000, 40  # where the settings name no size


def pool_names(source: str) -> list[str]:
    """Names of the pools of a source."""
    return {"procedural": ["families"], "local": sorted(local.POOLS), "hub": sorted(hub.POOLS)}[source]


def target_names(source: str) -> list[str]:
    """Names of the targets of a source."""
    return {
        "procedural": sorted(procedural.TARGETS),
        "local": sorted(local.TARGETS),
        "hub": sorted(hub.TARGETS),
    }[source]


def target(name: str, settings: DataSettings, fits: Fits | None = None) -> Target:
    """The target `name`; of files and of the hub, rows that do not fit are passed over before any is drawn.

    Raises UserError if the source has none of that name, or its data is not to be had.
    """
    if name not in target_names(settings.source):
        known = ", ".join(target_names(settings.source))
        raise UserError(f"target '{name}' is not to be had from source {settings.source}: choose from {known}")
    if settings.source == "procedural":
        rows = settings.evaluation or PROCEDURAL_EVALUATION
        return procedural.target(name, settings.shots, rows, settings.seed)
    return (local if settings.source == "local" else hub).target(name, settings, fits)


def pool(settings: DataSettings, targets: Sequence[Target], fits: Fits | None = None) -> tuple[Pool, list[DataCard]]:
    """The joined pool, without duplicates and without any question of the targets, and the card of each part.

    `fits` as of `target`.

    Raises UserError for an unknown pool, or one that is empty once that is taken out.
    """
    for name in settings.pools:
        if name not in pool_names(settings.source):
            known = ", ".join(pool_names(settings.source))
            raise UserError(f"pool '{name}' is not to be had from source {settings.source}: choose from {known}")
    held_out = [row for one in targets for row in (*one.validation, *one.evaluation)]
    if settings.source == "procedural":
        made = procedural.pool(settings.pool_size or PROCEDURAL_ROWS, settings.seed, held_out)
        return made, [made.card]
    source = local if settings.source == "local" else hub
    parts = [source.pool(name, settings, fits) for name in settings.pools]
    rows = _distinct((row for part in parts for row in part.rows), held_out)
    name = "+".join(settings.pools)
    about = {
        "licence": "; ".join(f"{part.name}: {part.card.licence}" for part in parts),
        "source": "; ".join(part.card.source for part in parts),
        "revision": "; ".join(part.card.revision for part in parts),
        "notes": f"left out: {sum(len(part.rows) for part in parts) - len(rows)} rows, duplicates or in a target",
    }
    card = DataCard.of(name, "pool", rows, **about)
    return Pool(name, rows, card), [part.card for part in parts]


def _distinct(rows: Iterable[Instruction], held_out: Sequence[Instruction]) -> list[Instruction]:
    """The first of rows with equal texts; none whose question is a target's. White space does not count."""
    asked = {row.question for row in held_out}
    seen: set[str] = set()
    kept = []
    for row in rows:
        text = " ".join(row.text.split())
        if row.question not in asked and text not in seen:
            seen.add(text)
            kept.append(row)
    return kept
