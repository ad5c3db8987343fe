"""Table 3: what an arm costs, the paper's hours beside the seconds here, and what the paper leaves out."""

from __future__ import annotations

from encore.report import numbers as write
from encore.report.cells import Cell, Column, Group, Table, without_empty_columns
from encore.report.comparison import Comparison, Cost
from encore.report.cost_verdict import probe_share, speedup
from encore.report.narrative import environment_name
from encore.report.reported import ReportedNumbers

PHASES = {"probe": ("probe",), "sft": ("sft",), "rl": ("rollout", "update")}


def table_3(comparison: Comparison, numbers: ReportedNumbers) -> Table:
    """Seconds of probe, SFT and RL, their total, speed-ups over GRPO and over SFT-then-RL, and counters.

    The paper's value stands below the one here. Seconds of another machine and model are not judged; the claims about
    time are, in a table of their own.
    """
    groups = []
    for environment in dict.fromkeys(cost.environment for cost in comparison.costs):
        here = {cost.method: cost for cost in comparison.costs if cost.environment == environment}
        longest = max((cost.training_s or 0.0 for cost in here.values()), default=0.0)
        rows = [
            _line(cost, here.get("grpo"), here.get("sft_then_rl"), longest, numbers)
            for cost in here.values()
            if cost.training_s is not None
        ]
        groups.append(Group(environment_name(environment), rows))
    columns = [
        Column("Arm", numeric=False),
        Column("Probe"),
        Column("Pass rates", brief=False),
        Column("SFT"),
        Column("RL"),
        Column("Total"),
        Column("Speed-up over GRPO"),
        Column("over SFT-then-RL"),
        Column("Probe's share, %"),
        Column("tokens trained", brief=False),
        Column("generated", brief=False),
        Column("env. steps", brief=False),
        Column("FLOPs", brief=False),
        Column("energy", brief=False),
        Column("memory", brief=False),
    ]
    lead = (
        "A mean over seeds; the paper's value, where it prints one, below (8 x A100, Qwen3-8B). RL is rollout and "
        "update. Evaluation, loading and saving are left out. An arm that reads gradient norms pays for the whole "
        "probe, HPT for its pass rates. Speed-up: how many times as long the other takes, with the range over seeds."
    )
    made = Table("table3", "Table 3: cost", columns, [group for group in groups if group.rows], lead=lead)
    return without_empty_columns(made)


def _line(cost: Cost, grpo: Cost | None, both: Cost | None, longest: float, numbers: ReportedNumbers) -> list[Cell]:
    def theirs(metric: str) -> str:
        found = numbers.lookup(cost.environment, cost.method, "cost", metric)
        return f"paper {write.reported(found)}" if found else ""

    cells = [Cell(cost.label)]
    seconds = {name: _sum(cost, phases) for name, phases in PHASES.items()}
    cells.append(Cell(write.duration(seconds["probe"]), theirs("probe_wall_s")))
    cells.append(Cell(write.duration(cost.wall_s.get("pass_rates"))))
    for name in ("sft", "rl"):
        cells.append(Cell(write.duration(seconds[name]), theirs(f"{name}_wall_s")))
    total = cost.training_s
    bar = total / longest if total is not None and longest > 0 else None
    cells.append(Cell(write.duration(total), theirs("total_wall_s"), tone="strong", bar=bar))
    cells.append(_speedup(cost, grpo, theirs("speedup")))
    cells.append(_speedup(cost, both, ""))
    share, probe, whole = (
        probe_share(cost),
        *(numbers.lookup(cost.environment, cost.method, "cost", metric) for metric in ("probe_wall_s", "total_wall_s")),
    )
    paper = f"paper {100 * probe.value / whole.value:.1f}" if probe and whole else ""
    cells.append(Cell(write.percent(share), paper))
    cells += [
        Cell(write.quantity(cost.tokens_trained)),
        Cell(write.quantity(cost.tokens_generated)),
        Cell(write.quantity(cost.environment_steps)),
        Cell(write.quantity(cost.flops)),
        Cell(write.energy(cost.energy_kwh)),
        Cell(write.quantity(cost.peak_memory_bytes, "B")),
    ]
    return cells


def _sum(cost: Cost, phases: tuple[str, ...]) -> float | None:
    known = [value for phase in phases if (value := cost.wall_s.get(phase)) is not None]
    return sum(known) if known else None


def _speedup(cost: Cost, reference: Cost | None, paper: str) -> Cell:
    found = speedup(cost, reference)
    if found is None:
        return Cell(write.DASH, paper)
    mean, low, high = (write.ratio(value, 1.0) for value in found)
    spread = f"{low} to {high}" if low != high else ""
    return Cell(mean, "; ".join(part for part in (spread, paper) if part))
