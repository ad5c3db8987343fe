"""The numbers of the paper, from reported.yaml, checked as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from encore.errors import UserError
from encore.report.comparison import ReportedValue

PATH = Path(__file__).with_name("reported.yaml")
ROUNDING = 0.006  # of the column that repeats a mean ratio with two decimals


@dataclass(frozen=True)
class PaperTable:
    """One table: `rows[arm][task]` in percent."""

    id: str
    title: str
    source: str
    pool: str
    fraction: float
    rows: dict[str, dict[str, float]]


@dataclass(frozen=True)
class PaperClaim:
    """That arm `a` is above arm `b`; `table` None: it follows from the argument and is printed nowhere."""

    id: str
    a: str
    b: str
    table: str | None
    text: str


@dataclass(frozen=True)
class Reported:
    """Everything that reported.yaml holds."""

    title: str
    citation: str
    scale: str
    warnings: list[str]
    statements: list[str]
    methods: dict[str, str]
    episodes: dict[str, int | None]
    tables: dict[str, PaperTable]
    claims: list[PaperClaim]

    def value(self, table: str, method: str, task: str) -> ReportedValue | None:
        """A cell, or None where the table has no such row or column."""
        found = self.tables[table]
        number = found.rows.get(method, {}).get(task)
        if number is None:
            return None
        return ReportedValue(number, "percent", f"Table {table} ({found.source})", None, self.episodes.get(task))


def load(path: Path = PATH) -> Reported:
    """Raises UserError for a row of another length than the tasks, an unknown arm, or a mean ratio that is wrong."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    tables = {}
    for table in content["tables"]:
        rows = {}
        for method, cells in table["rows"].items():
            if method not in content["methods"]:
                raise UserError(f"{path}: table {table['id']} has a row '{method}', which is not under methods: add it")
            if len(cells) != len(table["tasks"]):
                raise UserError(f"{path}: table {table['id']} row {method} has {len(cells)} cells: one for each task")
            rows[method] = dict(zip(table["tasks"], map(float, cells), strict=True))
        for method, ratio in table.get("relative_to_g2is", {}).items():
            shares = [rows[method][task] / rows["g2is"][task] for task in table["tasks"]]
            if abs(sum(shares) / len(shares) - ratio) > ROUNDING:
                raise UserError(f"{path}: table {table['id']} row {method}: its ratio {ratio} is not that of its cells")
        about = {key: table[key] for key in ("id", "title", "source", "pool", "fraction")}
        tables[table["id"]] = PaperTable(**about, rows=rows)
    claims = [PaperClaim(**claim) for claim in content["claims"]]
    for claim in claims:
        if claim.table is not None and not {claim.a, claim.b} <= set(tables[claim.table].rows):
            raise UserError(f"{path}: claim {claim.id} names an arm that table {claim.table} does not have")
    names = ("title", "citation", "warnings", "statements", "methods", "episodes")
    return Reported(
        **{name: content[name] for name in names}, scale=content["scale"].strip(), tables=tables, claims=claims
    )
