"""The paper's claims, its claims about time, and the paired tests, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from encore.report import numbers as write
from encore.report.cells import Cell, Column, Table, groups, labels, place, verdict_cell
from encore.report.comparison import Claim, Comparison, CostClaim, PairedTest
from encore.report.narrative import environment_name

BASES = {"figure": "figure", "implied": "implied, not printed"}


def claims(comparison: Comparison, chosen: Sequence[Claim] | None = None) -> Table:
    """The paper's claims and what became of them; `chosen` None takes all."""
    names = labels(comparison)
    rows: dict[str, list[list[Cell]]] = {}
    for claim in comparison.claims if chosen is None else chosen:
        spread = write.difference_span(claim.reported_low, claim.reported_high)
        source = "; ".join(part for part in (BASES.get(claim.basis, ""), claim.source) if part)
        rows.setdefault(place(claim.environment, claim.panel, claim.metric), []).append(
            [
                Cell(claim.text, f"{names.get(claim.a, claim.a)} above {names.get(claim.b, claim.b)}; {source}"),
                Cell(write.points(claim.reported_difference), spread),
                Cell(write.points(claim.difference), write.difference_span(claim.low, claim.high), tone="strong"),
                Cell(write.probability(claim.adjusted_p)),
                verdict_cell(claim.verdict),
                Cell(claim.explanation),
            ]
        )
    columns = [
        Column("Claim", numeric=False, wide=True),
        Column("Reported, points"),
        Column("Reproduced, points"),
        Column("p (Holm)"),
        Column("Verdict", numeric=False),
        Column("Why", numeric=False, wide=True, brief=False),
    ]
    lead = "Differences in percentage points with their 95 % intervals below. The rule of verdicts is at the end."
    return Table("claims", "Claims of the paper", columns, groups(rows), lead=lead)


def cost_claims(comparison: Comparison) -> Table:
    """The paper's claims about time."""
    rows: dict[str, list[list[Cell]]] = {}
    for claim in comparison.cost_claims:
        rows.setdefault(environment_name(claim.environment), []).append(
            [
                Cell(claim.text, claim.source),
                Cell(_ratio(claim, claim.reported)),
                Cell(_ratio(claim, claim.value), _range(claim), tone="strong"),
                verdict_cell(claim.verdict),
                Cell(claim.explanation),
            ]
        )
    columns = [
        Column("Claim", numeric=False, wide=True),
        Column("Reported"),
        Column("Reproduced"),
        Column("Verdict", numeric=False),
        Column("Why", numeric=False, wide=True, brief=False),
    ]
    lead = "How many times as long the other arm takes, or the probe's share; the range over seeds below."
    return Table("costclaims", "Claims about time", columns, groups(rows), lead=lead)


def tests(comparison: Comparison) -> Table:
    """Paired tests of arm against arm on the same games."""
    names = labels(comparison)
    rows: dict[str, list[list[Cell]]] = {}
    for test in comparison.tests:
        where = place(test.environment, test.panel, test.metric)
        rows.setdefault(f"{where} · {test.family}" if test.family else where, []).append(_test(test, names))
    heads = ["Difference, points", "95 % interval", "p bootstrap", "p Holm", "p McNemar, clustered", "McNemar by seed"]
    columns = [
        Column("Arms", numeric=False),
        *(Column(name) for name in heads[:-1]),
        Column(heads[-1], brief=False),
        Column("by seed, points"),
        Column("games"),
    ]
    lead = (
        "Interval and first p: nested bootstrap over games and training seeds. Holm corrects it over all tests of a "
        "family. McNemar is exact: clustered over all seeds with those of a game kept together (these policies, other "
        "games), and for each pair of seeds alone."
    )
    return Table("tests", "Paired tests", columns, groups(rows), lead=lead)


def _test(test: PairedTest, names: dict[str, str]) -> list[Cell]:
    return [
        Cell(f"{names.get(test.a, test.a)} − {names.get(test.b, test.b)}"),
        Cell(write.points(test.difference)),
        Cell(write.difference_span(test.low, test.high) or write.DASH),
        Cell(write.probability(test.bootstrap_p)),
        Cell(write.probability(test.adjusted_p)),
        Cell(write.probability(test.clustered_p)),
        Cell(", ".join(write.probability(p) for p in test.mcnemar_p) or write.DASH),
        Cell(", ".join(write.points(value) for value in test.per_seed) or write.DASH),
        Cell(str(test.n)),
    ]


def _ratio(claim: CostClaim, value: float | None) -> str:
    if claim.kind == "faster":
        return write.ratio(value, 1.0)
    return f"{write.percent(value)} %" if value is not None else write.DASH


def _range(claim: CostClaim) -> str:
    if claim.low is None or claim.high is None:
        return ""
    return f"{_ratio(claim, claim.low)} to {_ratio(claim, claim.high)}"
