"""What a routing score goes with, how far scores agree, and what each split sends where, as tables."""

from __future__ import annotations

from encore.report import numbers as write
from encore.report.cells import Cell, Column, Table, groups, labels, short
from encore.report.comparison import Agreement, Comparison, Correlation
from encore.report.narrative import environment_name

MEASURES = {"Spearman ρ": "ρ", "η² of ranks": "η²"}  # as heads of columns


def correlations(comparison: Comparison) -> Table:
    """One row a score, one column a quantity: Spearman's rho or eta squared, with p below."""
    against = list(dict.fromkeys((found.against, found.measure) for found in comparison.correlations))
    by: dict[tuple[str, str], dict[str, Correlation]] = {}
    for found in comparison.correlations:
        by.setdefault((found.environment, found.score), {})[found.against] = found
    rows: dict[str, list[list[Cell]]] = {}
    for (environment, score), cells in by.items():
        n = next(iter(cells.values())).n
        line = [Cell(score)]
        for name, _ in against:
            one = cells.get(name)
            detail = f"p {write.probability(one.p)}" if one is not None and one.p is not None else ""
            line.append(Cell(write.decimal(one.rho), detail) if one is not None else Cell(write.DASH))
        rows.setdefault(environment_name(environment), []).append([*line, Cell(str(n))])
    columns = [Column("Score", numeric=False)]
    columns += [Column(f"{name}, {MEASURES.get(measure, measure)}") for name, measure in against]
    lead = (
        "A score that only repeats length, loss or task type would route by those. ρ is Spearman's rank correlation; "
        "η² is the share of the ranks' variance that a category explains, with the p of Kruskal and Wallis. Near 1, "
        "the score is that quantity in disguise. p is of each by itself, not corrected."
    )
    return Table("correlations", "Diagnosis: what the scores go with", [*columns, Column("n")], groups(rows), lead=lead)


def agreements(comparison: Comparison) -> Table:
    """Pairs of scores: rank correlation, and the share of examples that both send to the same half."""
    rows: dict[str, list[list[Cell]]] = {}
    for kind in dict.fromkeys(found.kind for found in comparison.agreements):
        for environment in dict.fromkeys(found.environment for found in comparison.agreements):
            found = [item for item in comparison.agreements if (item.environment, item.kind) == (environment, kind)]
            if found:
                rows[f"{environment_name(environment)} · between {kind}"] = _matrix(found)
    names = ("A", "B", "Spearman ρ", "p", "same half, %", "n")
    columns = [Column(name, numeric=index > 1) for index, name in enumerate(names)]
    lead = "Same half: examples that both scores put on one side of their medians; 50 % is chance, 100 % one split."
    return Table("agreements", "Diagnosis: how far rankings agree", columns, groups(rows), lead=lead)


def shares(comparison: Comparison) -> Table:
    """Share of each task type that a split sends to RL."""
    types = list(dict.fromkeys(share.task_type for share in comparison.shares))
    names = labels(comparison)
    rows: dict[str, list[list[Cell]]] = {}
    for environment in dict.fromkeys(share.environment for share in comparison.shares):
        here = [share for share in comparison.shares if share.environment == environment]
        for method in dict.fromkeys(share.method for share in here):
            by = {share.task_type: share for share in here if share.method == method}
            cells = [Cell(names.get(method, method))]
            for name in types:
                share = by.get(name)
                if share is None or share.total == 0:
                    cells.append(Cell(write.DASH))
                else:
                    part = share.to_rl / share.total
                    cells.append(Cell(write.percent(part, 0), f"{share.to_rl} / {share.total}", bar=part))
            rows.setdefault(environment_name(environment), []).append(cells)
    columns = [Column("Arm", numeric=False), *(Column(short(name)) for name in types)]
    lead = (
        "Percent of the demonstrations of a type that go to RL, under the first seed, of arms that divide the data. "
        "Far from the arm's own share means that the split follows the type."
    )
    return Table("shares", "Diagnosis: task types sent to RL", columns, groups(rows), lead=lead)


def _matrix(found: list[Agreement]) -> list[list[Cell]]:
    return [
        [
            Cell(item.a),
            Cell(item.b),
            Cell(write.decimal(item.rho)),
            Cell(write.probability(item.p)),
            Cell(write.percent(item.same_half)),
            Cell(str(item.n)),
        ]
        for item in found
    ]
