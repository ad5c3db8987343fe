"""Cost beside score: what an arm took, relative to a reference arm of the same environment."""

from __future__ import annotations

from encore.report import numbers as write
from encore.report.cells import Cell, Column, Table, groups, without_empty_columns
from encore.report.comparison import Comparison, Cost
from encore.report.narrative import environment_name

REFERENCES = ("sft", "base")  # whose cost the others are divided by: the first that was timed


def costs(comparison: Comparison) -> Table:
    """Time by phase, device hours, tokens, environment steps, FLOPs, energy, memory and price, a mean over seeds."""
    rows: dict[str, list[list[Cell]]] = {}
    for environment in dict.fromkeys(cost.environment for cost in comparison.costs):
        here = [cost for cost in comparison.costs if cost.environment == environment]
        reference = reference_time({cost.method: cost.total_s for cost in here})
        longest = max((cost.total_s or 0 for cost in here), default=0)
        rows[environment_name(environment)] = [_cost(cost, comparison, reference, longest) for cost in here]
    columns = [
        Column("Arm", numeric=False),
        Column("Score here, %", numeric=False),
        Column("Time"),
        Column(f"× {reference_label(comparison)}"),
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
    return without_empty_columns(Table("costs", "Cost beside score", columns, groups(rows), lead=lead))


def reference_time(times: dict[str, float | None]) -> float | None:
    """The time of the first of REFERENCES that has one."""
    return next((times[name] for name in REFERENCES if times.get(name)), None)


def reference_label(comparison: Comparison) -> str:
    """Its name."""
    timed = {cost.method for cost in comparison.costs if cost.total_s}
    return next((name for name in REFERENCES if name in timed), "reference")


def phases(cost: Cost) -> str:
    """Seconds by phase in words, each unbroken."""
    spoken = (f"{phase.replace('_', ' ')} {write.duration(wall_s)}" for phase, wall_s in cost.wall_s.items())
    return ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in spoken)


def _cost(cost: Cost, comparison: Comparison, reference: float | None, longest: float) -> list[Cell]:
    scores = [
        f"{row.panel} {write.percent(row.mean)}"
        for row in comparison.rows
        if (row.environment, row.method, row.metric) == (cost.environment, cost.method, "success")
    ]
    bar = cost.total_s / longest if cost.total_s is not None and longest > 0 else None
    return [
        Cell(cost.label),
        Cell(" · ".join(scores) or write.DASH),
        Cell(write.duration(cost.total_s), phases(cost), bar=bar),
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
