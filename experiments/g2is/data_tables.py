"""The tables of a comparison that are about its data: what test and pool share, and the data cards."""

from __future__ import annotations

from typing import Any

from encore.report import numbers as write
from encore.report.tables import Cell, Column, Group, Table


def overlap(overlaps: list[dict[str, Any]], cards: list[dict[str, Any]]) -> list[Table]:
    """Contamination, and where the data come from."""
    rows = [
        [
            Cell(one["target"]),
            *(Cell(str(one[key])) for key in ("evaluated", "compared", "hits", "template_hits")),
            Cell("; ".join(words for _, _, words in one["examples"][:2]) or write.DASH),
        ]
        for one in overlaps
    ]
    names = ("test rows", "long enough", "shared with the pool", "shared templates")
    columns = [Column("Target", numeric=False), *map(Column, names), Column("for example", numeric=False, wide=True)]
    lead = "Test rows that share a run of 13 words with a pool row (rows of 8 to 12 words: as a whole)."
    of_cards = [
        [Cell(card["name"], card["role"])]
        + [Cell(str(card[key])) for key in ("examples", "licence", "source", "revision")]
        + [Cell(card["sha256"][:16], card.get("notes", ""))]
        for card in cards
    ]
    about = [Column("Data", numeric=False), Column("rows")]
    about += [Column(name, numeric=False) for name in ("licence", "source", "revision", "SHA-256")]
    return [
        Table("overlap", "Overlap of pool and test", columns, [Group("", rows)], lead=lead),
        Table("data", "Data", about, [Group("", of_cards)]),
    ]
