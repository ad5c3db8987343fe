"""The tables of a report as plain cells, made once and rendered by console, Markdown and HTML alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from encore.report import numbers as write
from encore.report.comparison import Comparison, Cost, Row
from encore.report.narrative import environment_name
from encore.report.verdict import NOT_RUN, OPPOSITE, REPRODUCED

REFERENCES = ("sft", "base")  # whose cost the others are divided by: the first that was timed
TONES = {REPRODUCED: "good", OPPOSITE: "bad", NOT_RUN: "muted"}


@dataclass(frozen=True, slots=True)
class Cell:
    """`detail` is secondary and may be left out; `bar` is a share of 1 to draw; `tone`: good, bad, muted."""

    text: str
    detail: str = ""
    tone: str = ""
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """`numeric` columns align right; `wide` ones hold sentences; `brief` False leaves a column out in a terminal."""

    name: str
    numeric: bool = True
    wide: bool = False
    brief: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Rows under one heading, e.g. one panel of one environment."""

    heading: str
    rows: list[list[Cell]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with what has to be said about it."""

    id: str
    title: str
    columns: list[Column]
    groups: list[Group]
    lead: str = ""
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(group.rows for group in self.groups)


def results(comparison: Comparison) -> Table:
    """The main table: score with its interval here, and the paper's own beside it."""
    meta = comparison.meta
    times = {(cost.environment, cost.method): cost.total_s for cost in comparison.costs}
    groups = []
    for place, rows in _places(comparison).items():
        reference = _reference({row.method: times.get((row.environment, row.method)) for row in rows})
        groups.append(Group(place, [_result(row, times, reference, meta.same_scale) for row in rows]))
    reasons = list(dict.fromkeys(row.reported_reason for row in comparison.rows if row.reported_reason))
    notes = [f"Paper {write.DASH}: {reason}." for reason in reasons]
    notes += [f"Interval here: {kind}." for kind in dict.fromkeys(row.interval for row in comparison.rows) if kind]
    skipped = dict.fromkeys(f"{row.label} was not run: {row.skipped}." for row in comparison.rows if row.skipped)
    notes += skipped
    return Table(
        "results",
        "Results",
        [
            Column("Arm", numeric=False),
            Column("Here, %"),
            Column("95 % interval"),
            Column("Paper, %"),
            Column("Source", numeric=False),
            Column("by seed"),
            Column("won / episodes", brief=False),
            Column("Time here"),
            Column(f"× {_reference_label(comparison)}"),
        ],
        groups,
        lead=_scales(meta.backbone, meta.profile, meta.reported_scale or meta.reported_backbone, meta.same_scale),
        notes=notes,
    )


def claims(comparison: Comparison) -> Table:
    """The paper's claims and what became of them."""
    labels = _labels(comparison)
    groups: dict[str, list[list[Cell]]] = {}
    for claim in comparison.claims:
        sources = {"figure": claim.source or "a figure", "implied": "implied, not printed"}
        spread = write.difference_span(claim.reported_low, claim.reported_high)
        detail = "; ".join(part for part in (spread, sources.get(claim.basis, claim.source)) if part)
        groups.setdefault(_place(claim.environment, claim.panel, claim.metric), []).append(
            [
                Cell(claim.text, f"{labels.get(claim.a, claim.a)} above {labels.get(claim.b, claim.b)}"),
                Cell(claim.verdict, tone=TONES.get(claim.verdict, "")),
                Cell(write.points(claim.difference), write.difference_span(claim.low, claim.high)),
                Cell(write.points(claim.reported_difference), detail),
                Cell(claim.explanation),
            ]
        )
    columns = [
        Column("Claim", numeric=False, wide=True),
        Column("Verdict", numeric=False),
        Column("Here, points"),
        Column("Paper, points"),
        Column("Why", numeric=False, wide=True, brief=False),
    ]
    lead = (
        "Direction reproduced: the 95 % paired-bootstrap interval over games is above zero and so is the difference "
        "under every seed. Opposite: both below. Not distinguishable: anything else, which is no evidence of equality."
    )
    return Table("claims", "Claims of the paper", columns, _groups(groups), lead=lead)


def by_type(comparison: Comparison) -> Table:
    """Success by task type, and the paper's cells in rows of their own."""
    types = list(dict.fromkeys(name for row in comparison.rows for name in row.by_type))
    groups = []
    for place, rows in _places(comparison).items():
        lines = []
        for row in rows:
            if not row.by_type:
                continue
            lines.append([Cell(row.label), *(_type_cell(row, name) for name in types)])
            theirs = [found.reported if (found := row.by_type.get(name)) else None for name in types]
            if any(theirs):
                cells = [Cell(write.reported(value), tone="muted") for value in theirs]
                lines.append([Cell(f"{row.label}, paper", tone="muted"), *cells])
        groups.append(Group(place, lines))
    columns = [Column("Arm", numeric=False), *(Column(_short(name)) for name in types)]
    lead = "Percent of episodes won, with won / episodes over all seeds and the interval below."
    return Table("types", "By task type", columns, [group for group in groups if group.rows], lead=lead)


def costs(comparison: Comparison) -> Table:
    """Cost beside score, relative to a reference arm of the same environment."""
    groups: dict[str, list[list[Cell]]] = {}
    for environment in dict.fromkeys(cost.environment for cost in comparison.costs):
        here = [cost for cost in comparison.costs if cost.environment == environment]
        reference = _reference({cost.method: cost.total_s for cost in here})
        longest = max((cost.total_s or 0 for cost in here), default=0)
        groups[environment_name(environment)] = [_cost(cost, comparison, reference, longest) for cost in here]
    columns = [
        Column("Arm", numeric=False),
        Column("Score here, %", numeric=False),
        Column("Time"),
        Column(f"× {_reference_label(comparison)}"),
        Column("device h", brief=False),
        Column("tokens trained"),
        Column("generated"),
        Column("env. steps"),
        Column("FLOPs"),
        Column("energy"),
        Column("memory", brief=False),
        Column("price", brief=False),
    ]
    lead = "Mean over the seeds of an arm. Energy is codecarbon's estimate; a dash was not measured."
    return _without_empty_columns(Table("costs", "Cost beside score", columns, _groups(groups), lead=lead))


def tests(comparison: Comparison) -> Table:
    """Paired tests of arm against arm on the same games."""
    labels = _labels(comparison)
    groups: dict[str, list[list[Cell]]] = {}
    for test in comparison.tests:
        groups.setdefault(_place(test.environment, test.panel, test.metric), []).append(
            [
                Cell(f"{labels.get(test.a, test.a)} − {labels.get(test.b, test.b)}"),
                Cell(write.points(test.difference)),
                Cell(write.difference_span(test.low, test.high) or write.DASH),
                Cell(write.probability(test.bootstrap_p)),
                Cell(", ".join(write.probability(p) for p in test.mcnemar_p) or write.DASH),
                Cell(", ".join(write.points(value) for value in test.per_seed) or write.DASH),
                Cell(str(test.n)),
            ]
        )
    names = ["Difference, points", "95 % interval", "p bootstrap", "p McNemar by seed", "by seed, points", "games"]
    columns = [Column("Arms", numeric=False), *(Column(name) for name in names)]
    lead = (
        "Interval and first p: bootstrap over games, each averaged over its seeds. McNemar is exact and one run "
        "against one, so there is a p for each pair of seeds. No p is corrected for the number of tests."
    )
    return Table("tests", "Paired tests", columns, _groups(groups), lead=lead)


def correlations(comparison: Comparison) -> Table:
    """What the routing score goes with."""
    groups: dict[str, list[list[Cell]]] = {}
    for found in comparison.correlations:
        groups.setdefault(environment_name(found.environment), []).append(
            [
                Cell(found.score),
                Cell(found.against),
                Cell(write.decimal(found.rho)),
                Cell(write.probability(found.p)),
                Cell(str(found.n)),
            ]
        )
    columns = [Column("Score", numeric=False), Column("against", numeric=False), *map(Column, ("Spearman ρ", "p", "n"))]
    lead = "A score that only repeats length, loss or task type would route by those. |ρ| near 1 means that it does."
    return Table("correlations", "Diagnosis: what the score goes with", columns, _groups(groups), lead=lead)


def shares(comparison: Comparison) -> Table:
    """Share of each task type that a split sends to RL."""
    types = list(dict.fromkeys(share.task_type for share in comparison.shares))
    labels = _labels(comparison)
    groups: dict[str, list[list[Cell]]] = {}
    for environment in dict.fromkeys(share.environment for share in comparison.shares):
        here = [share for share in comparison.shares if share.environment == environment]
        for method in dict.fromkeys(share.method for share in here):
            by = {share.task_type: share for share in here if share.method == method}
            cells = [Cell(labels.get(method, method))]
            for name in types:
                share = by.get(name)
                known = share is not None and share.total > 0
                cells.append(
                    Cell(write.percent(share.to_rl / share.total, 0), f"{share.to_rl} / {share.total}")
                    if share is not None and known
                    else Cell(write.DASH)
                )
            groups.setdefault(environment_name(environment), []).append(cells)
    columns = [Column("Arm", numeric=False), *(Column(_short(name)) for name in types)]
    lead = "Percent of the demonstrations of a type that go to RL. Far from 50 means that the split follows the type."
    return Table("shares", "Diagnosis: task types sent to RL", columns, _groups(groups), lead=lead)


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table that has a row, in the order of a report."""
    makers = (results, claims, by_type, costs, tests, correlations, shares)
    return [table for maker in makers if (table := maker(comparison))]


def _result(
    row: Row, times: dict[tuple[str, str], float | None], reference: float | None, same_scale: bool
) -> list[Cell]:
    time = times.get((row.environment, row.method))
    source = row.reported.source if row.reported else ""
    return [
        Cell(row.label, row.method if row.method != row.label else ""),
        Cell(write.percent(row.mean)),
        Cell(write.span(row.low, row.high) or write.DASH),
        Cell(write.reported(row.reported)),
        Cell(source or write.DASH, row.verdict if same_scale else "", tone="muted"),
        Cell(", ".join(write.percent(value) for value in row.per_seed) or write.DASH),
        Cell(f"{row.wins:g} / {row.episodes}" if row.episodes else write.DASH),
        Cell(write.duration(time)),
        Cell(write.ratio(time, reference)),
    ]


def _cost(cost: Cost, comparison: Comparison, reference: float | None, longest: float) -> list[Cell]:
    scores = [
        f"{row.panel} {write.percent(row.mean)}"
        for row in comparison.rows
        if (row.environment, row.method, row.metric) == (cost.environment, cost.method, "success")
    ]
    spoken = (f"{phase} {write.duration(wall_s)}" for phase, wall_s in cost.wall_s.items())
    phases = [text.replace(" ", "\N{NO-BREAK SPACE}") for text in spoken]
    bar = cost.total_s / longest if cost.total_s is not None and longest > 0 else None
    return [
        Cell(cost.label),
        Cell(" · ".join(scores) or write.DASH),
        Cell(write.duration(cost.total_s), ", ".join(phases), bar=bar),
        Cell(write.ratio(cost.total_s, reference)),
        Cell(write.decimal(cost.device_h, 3)),
        Cell(write.quantity(cost.tokens_trained)),
        Cell(write.quantity(cost.tokens_generated)),
        Cell(write.quantity(cost.environment_steps)),
        Cell(write.quantity(cost.flops)),
        Cell(write.energy(cost.energy_kwh)),
        Cell(write.quantity(cost.peak_memory_bytes, "B")),
        Cell(write.decimal(cost.price)),
    ]


def _type_cell(row: Row, name: str) -> Cell:
    found = row.by_type.get(name)
    if found is None or found.episodes == 0:
        return Cell(write.DASH)
    detail = f"{found.wins:g} / {found.episodes}"
    span = write.span(found.low, found.high)
    return Cell(write.percent(found.wins / found.episodes), f"{detail}; {span}" if span else detail)


def _places(comparison: Comparison) -> dict[str, list[Row]]:
    places: dict[str, list[Row]] = {}
    for row in comparison.rows:
        places.setdefault(_place(row.environment, row.panel, row.metric), []).append(row)
    return places


def _place(environment: str, panel: str, metric: str) -> str:
    suffix = "" if metric == "success" else f" · {metric}"
    return f"{environment_name(environment)} · {panel}{suffix}"


def _groups(groups: dict[str, list[list[Cell]]]) -> list[Group]:
    return [Group(heading, rows) for heading, rows in groups.items()]


def _without_empty_columns(table: Table) -> Table:
    """Quantities that no arm measured are no columns."""
    rows = [row for group in table.groups for row in group.rows]
    kept = [i for i in range(len(table.columns)) if any(row[i].text != write.DASH for row in rows)]
    groups = [Group(group.heading, [[row[i] for i in kept] for row in group.rows]) for group in table.groups]
    return replace(table, columns=[table.columns[i] for i in kept], groups=groups)


def _labels(comparison: Comparison) -> dict[str, str]:
    labels = {cost.method: cost.label for cost in comparison.costs}
    return labels | {row.method: row.label for row in comparison.rows}


def _reference(times: dict[str, float | None]) -> float | None:
    return next((times[name] for name in REFERENCES if times.get(name)), None)


def _reference_label(comparison: Comparison) -> str:
    timed = {cost.method for cost in comparison.costs if cost.total_s}
    return next((name for name in REFERENCES if name in timed), "reference")


def _scales(backbone: str, profile: str, paper: str, same: bool) -> str:
    text = f"Here: {backbone}, profile {profile}. Paper: {paper.rstrip('.')}."
    return text if same else text + " The two columns are not on one scale; nothing is subtracted."


def _short(task_type: str) -> str:
    """pick_clean_then_place_in_recep -> clean; other names keep their words."""
    names = {"pick_and_place_simple": "pick", "look_at_obj_in_light": "look", "pick_two_obj_and_place": "pick two"}
    if task_type in names:
        return names[task_type]
    if task_type.startswith("pick_") and task_type.endswith("_then_place_in_recep"):
        return task_type.removeprefix("pick_").removesuffix("_then_place_in_recep")
    return task_type.replace("_", " ")
