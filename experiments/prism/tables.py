"""Tables 1 to 4 and Figures 3 and 4 of the paper, each with what the paper reports, what was reproduced, a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from encore.report import numbers as write
from encore.report.cells import Cell, Column, Group, Table, place, short, verdict_cell
from encore.report.claims import oriented
from encore.report.comparison import Comparison, PairedTest, Row
from encore.report.tables import notes, scales, value_cells, value_columns
from encore.report.verdict import NOT_RUN, row_verdict
from experiments.prism.pairs import CONCENTRATION, FIGURE_3

LABELS = {"gini": "Gini", "kurtosis": "Kurtosis", "cv": "CV"}
FRACTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
SWEPT = ("cv", "gini")  # the paper draws CV


def table_1(comparison: Comparison) -> Table:
    """ALFWorld, all task types together."""
    rows = [row for row in comparison.rows if row.environment == "alfworld"]
    columns = [Column("Arm", numeric=False), *value_columns()]
    return Table(
        "table1",
        "Table 1: ALFWorld",
        columns,
        [group for panel in _panels(rows) for group in _by_paper(panel)],
        lead=f"Episodes won. {scales(comparison)}",
        notes=notes(rows),
    )


def table_1_types(comparison: Comparison) -> Table:
    """ALFWorld by task type: an arm's own line, the paper's below it, and at one scale the verdicts."""
    rows = [row for row in comparison.rows if row.environment == "alfworld"]
    types = list(dict.fromkeys(name for row in rows for name in row.by_type))
    groups = []
    for panel in _panels(rows):
        lines = []
        for row in panel:
            if not row.by_type:
                continue
            cells = [_type(row, name) for name in types]
            lines.append([Cell(row.label, tone="strong"), *cells, Cell(write.percent(row.mean), tone="strong")])
            theirs = [found.reported if (found := row.by_type.get(name)) else None for name in types]
            if row.reported is not None:
                reported = [Cell(write.reported(value), tone="muted") for value in theirs]
                lines.append(
                    [Cell("reported", tone="muted"), *reported, Cell(write.reported(row.reported), tone="muted")]
                )
            if row.reported is not None and comparison.meta.same_scale:
                lines.append([Cell("verdict", tone="muted"), *(_type_verdict(row, name) for name in types)])
                lines[-1].append(verdict_cell(row.verdict))
        groups.append(Group(place(panel[0].environment, panel[0].panel, panel[0].metric), lines))
    columns = [Column("Arm", numeric=False), *(Column(short(name)) for name in types), Column("all")]
    scale = "" if comparison.meta.same_scale else " Another scale than the paper's: no verdict by cell."
    return Table(
        "table1types",
        "Table 1 by task type",
        columns,
        [group for group in groups if group.rows],
        lead=f"Percent of episodes won over all seeds, with the 95 % interval below.{scale}",
    )


def table_2(comparison: Comparison) -> Table:
    """WebShop: success and score, beside both of the paper's models."""
    rows = [row for row in comparison.rows if row.environment == "webshop"]
    others = list(dict.fromkeys(name for row in rows for name in row.other_reported))
    columns = [Column("Arm", numeric=False), *value_columns(others)]
    columns[1] = Column(f"Reported, {comparison.meta.reported_backbone}")
    return Table(
        "table2",
        "Table 2: WebShop",
        columns,
        [group for panel in _panels(rows) for group in _by_paper(panel, others)],
        lead=f"Success in percent of episodes, and the score of 100. {scales(comparison)}",
        notes=notes(rows),
    )


def table_4(comparison: Comparison) -> Table:
    """Magnitude (L2) against concentration (Gini), on the two panels that the paper prints, and their difference."""
    groups = []
    for environment, panel, metric, claim_id in (
        ("webshop", "test", "score", "web-gini-l2/test"),
        ("alfworld", "seen", "success", "alf-gini-l2/seen"),
    ):
        rows = _rows(comparison, environment, panel, metric, ("l2", "prism_gini"))
        claim = next((claim for claim in comparison.claims if claim.id == claim_id), None)
        if not rows:
            continue
        lines = [[Cell(row.label), *value_cells(row)[:-1]] for row in rows]
        if claim is not None:
            lines.append(
                [
                    Cell("Gini − L2, points"),
                    Cell(write.points(claim.reported_difference)),
                    Cell(write.points(claim.difference), tone="strong"),
                    Cell(write.difference_span(claim.low, claim.high) or write.DASH),
                    Cell(write.DASH),
                    verdict_cell(claim.verdict),
                ]
            )
        groups.append(Group(place(environment, panel, metric), lines))
    columns = [Column("Routing", numeric=False), *value_columns()[:-1]]
    return Table("table4", "Table 4: magnitude against concentration", columns, groups)


def figure_3(comparison: Comparison) -> Table:
    """PRISM, its inverse and a random split, by metric: means, and PRISM's lead over the other two."""
    groups = []
    for panel in _panels(comparison.rows):
        where = (panel[0].environment, panel[0].panel, panel[0].metric)
        by = {row.method: row for row in panel}
        lines = []
        for name in CONCENTRATION:
            arms = (f"prism_{name}", f"inverse_{name}", "random")
            if not any(arm in by and by[arm].mean is not None for arm in arms[:2]):
                continue
            line = [Cell(LABELS[name])]
            for arm in arms:
                row = by.get(arm)
                known = row is not None and row.mean is not None
                line.append(
                    Cell(write.percent(row.mean), write.span(row.low, row.high)) if row and known else Cell(NOT_RUN)
                )
            for other in arms[1:]:
                line += _lead(comparison, where, arms[0], other)
            lines.append(line)
        groups.append(Group(place(*where), lines))
    columns = [
        Column("Metric", numeric=False),
        Column("PRISM"),
        Column("Inverse"),
        Column("Random"),
        Column("PRISM − Inverse"),
        Column("Verdict", numeric=False),
        Column("PRISM − Random"),
        Column("Verdict", numeric=False),
    ]
    lead = (
        "The paper shows WebShop in a figure and prints no number of Inverse; PRISM's and Random's are in Table 2. A "
        "dash in place of a verdict: the paper claims nothing there, or only by implication on another metric."
    )
    return Table("figure3", "Figure 3: PRISM, Inverse, Random", columns, [g for g in groups if g.rows], lead=lead)


def figure_4(comparison: Comparison) -> Table:
    """Success against the share of data sent to RL; ends of the range are SFT alone and RL alone."""
    groups = []
    for panel in _panels(comparison.rows):
        if panel[0].metric != "success":
            continue
        where = (panel[0].environment, panel[0].panel, panel[0].metric)
        by = {row.method: row for row in panel}
        lines = []
        for fraction in FRACTIONS:
            line = [Cell(f"{fraction:.0%}".replace("%", " %"))]
            for metric in SWEPT:
                row = by.get(swept_arm(metric, fraction))
                known = row is not None and row.mean is not None
                line.append(
                    Cell(write.percent(row.mean), write.span(row.low, row.high))
                    if row and known
                    else Cell(NOT_RUN, tone="muted")
                )
            claim_id = f"web-ratio-{round(100 * fraction)}/{panel[0].panel}"
            claim = next((c for c in comparison.claims if c.id == claim_id and c.environment == where[0]), None)
            line.append(verdict_cell(claim.verdict if claim else ""))
            lines.append(line)
        groups.append(Group(place(*where), lines))
    columns = [
        Column("Share to RL", numeric=False),
        Column("CV, %"),
        Column("Gini, %"),
        Column("CV: 50 % beats this", numeric=False),
    ]
    lead = (
        "0 % is SFT on all data, 100 % GRPO on all tasks. The paper draws WebShop and CV, an inverted U with its peak "
        "near 50 %, without numbers. Rows that say 'not run' run with `encore profile use PROFILE prism.full=true`."
    )
    return Table("figure4", "Figure 4: the share of data sent to RL", columns, groups, lead=lead)


def swept_arm(metric: str, fraction: float) -> str:
    """The arm that sends this share to RL by this metric."""
    ends = {0.0: "sft", 0.5: f"prism_{metric}", 1.0: "grpo"}
    return ends.get(fraction, f"prism_{metric}_rl{round(100 * fraction)}")


def _lead(comparison: Comparison, where: tuple[str, str, str], a: str, b: str) -> list[Cell]:
    test = _test(comparison.tests, where, a, b)
    claim = next((c for c in comparison.claims if (c.environment, c.panel, c.metric, c.a, c.b) == (*where, a, b)), None)
    difference = (
        Cell(write.points(test.difference), write.difference_span(test.low, test.high)) if test else Cell(write.DASH)
    )
    return [difference, verdict_cell(claim.verdict if claim else "")]


def _test(tests: Sequence[PairedTest], where: tuple[str, str, str], a: str, b: str) -> PairedTest | None:
    for test in tests:
        here = (test.environment, test.panel, test.metric) == where and test.family == FIGURE_3
        if here and {test.a, test.b} == {a, b}:
            return oriented(test, a)
    return None


def _panels(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.environment, row.panel, row.metric), []).append(row)
    return list(found.values())


def _by_paper(panel: Sequence[Row], backbones: Sequence[str] = ()) -> list[Group]:
    """The arms of the paper's table, then the others."""
    first = panel[0]
    heading = place(first.environment, first.panel, first.metric)
    printed = [row for row in panel if row.reported is not None]
    more = [row for row in panel if row.reported is None]
    source = next((row.reported.source for row in printed if row.reported), "")
    groups = []
    if printed:
        groups.append(Group(f"{heading} · arms of {source}", [_value_line(row, backbones) for row in printed]))
    if more:
        text = "more arms" if printed else "not in the paper"
        groups.append(Group(f"{heading} · {text}", [_value_line(row, backbones) for row in more]))
    return groups


def _value_line(row: Row, backbones: Sequence[str]) -> list[Cell]:
    return [Cell(row.label), *value_cells(row, backbones)]


def _rows(comparison: Comparison, environment: str, panel: str, metric: str, methods: Sequence[str]) -> list[Row]:
    where = (environment, panel, metric)
    at = {row.method: row for row in comparison.rows if (row.environment, row.panel, row.metric) == where}
    return [at[method] for method in methods if method in at]


def _type(row: Row, name: str) -> Cell:
    found = row.by_type.get(name)
    if found is None or found.episodes == 0:
        return Cell(write.DASH)
    return Cell(write.percent(found.wins / found.episodes), write.span(found.low, found.high))


def _type_verdict(row: Row, name: str) -> Cell:
    found = row.by_type.get(name)
    if found is None or found.episodes == 0:
        return Cell(write.DASH)
    mean = found.wins / found.episodes
    one = dataclasses.replace(row, mean=mean, low=found.low, high=found.high, reported=found.reported)
    return verdict_cell(row_verdict(one, same_scale=True))
