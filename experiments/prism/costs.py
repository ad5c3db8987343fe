"""Table 3: what an arm costs, the paper's hours beside the seconds here, and what the paper leaves out."""

from __future__ import annotations

from encore.report import numbers as write
from encore.report.cells import Cell, Column, Group, Table, without_empty_columns
from encore.report.comparison import Comparison, Cost, ReportedValue
from encore.report.cost_verdict import probe_share, speedup
from encore.report.narrative import environment_name
from encore.report.reported import ReportedNumbers

PHASES = {"probe": ("probe",), "sft": ("sft",), "rl": ("rollout", "update")}


def table_3(comparison: Comparison, numbers: ReportedNumbers) -> Table:
    """Seconds of probe, SFT and RL, their total, and speed-ups over GRPO and over SFT-then-RL.

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
            if cost.training_s
        ]
        groups.append(Group(environment_name(environment), rows))
    columns = [
        Column("Arm", numeric=False),
        Column("Probe"),
        Column("its share, %"),
        Column("Pass rates", brief=False),
        Column("SFT"),
        Column("RL"),
        Column("Total"),
        Column("Over GRPO"),
        Column("reported"),
        Column("Over SFT-then-RL"),
    ]
    lead = (
        "A mean over seeds; the paper's value, where it prints one, below (8 x A100, Qwen3-8B). RL is rollout and "
        "update. Evaluation, loading and saving are left out. An arm that reads gradient norms pays for the whole "
        "probe, HPT for its pass rates. The last columns are speed-ups: how many times as long GRPO and SFT-then-RL "
        "take, with the range over seeds. Seconds of another machine and model are not judged."
    )
    made = Table("table3", "Table 3: time", columns, [group for group in groups if group.rows], lead=lead)
    return without_empty_columns(made)


def counters(comparison: Comparison) -> Table:
    """Tokens, environment steps, FLOPs, energy and memory of training, which the paper does not print."""
    groups = []
    for environment in dict.fromkeys(cost.environment for cost in comparison.costs):
        rows = [
            [
                Cell(cost.label),
                Cell(write.quantity(cost.tokens_trained)),
                Cell(write.quantity(cost.tokens_generated)),
                Cell(write.quantity(cost.environment_steps)),
                Cell(write.quantity(cost.flops)),
                Cell(write.energy(cost.energy_kwh)),
                Cell(write.quantity(cost.peak_memory_bytes, "B")),
                Cell(write.decimal(cost.price)),
            ]
            for cost in comparison.costs
            if cost.environment == environment and cost.training_s
        ]
        groups.append(Group(environment_name(environment), rows))
    names = ("tokens trained", "tokens generated", "environment steps", "FLOPs", "energy", "memory, peak", "price")
    lead = "What training took beside time, a mean over seeds, the probe or pass rates of an arm included."
    made = Table("counters", "Tokens, steps, energy", [Column("Arm", numeric=False), *map(Column, names)], groups, lead)
    return without_empty_columns(made)


def _line(cost: Cost, grpo: Cost | None, both: Cost | None, longest: float, numbers: ReportedNumbers) -> list[Cell]:
    def found(metric: str) -> ReportedValue | None:
        return numbers.lookup(cost.environment, cost.method, "cost", metric)

    def theirs(metric: str) -> str:
        value = found(metric)
        return write.reported(value) if value else ""

    probe, whole, total = found("probe_wall_s"), found("total_wall_s"), cost.training_s
    of_paper = f"{100 * probe.value / whole.value:.1f}" if probe and whole else ""
    seconds = {name: _sum(cost, phases) for name, phases in PHASES.items()}
    bar = total / longest if total is not None and longest > 0 else None
    return [
        Cell(cost.label),
        Cell(write.duration(seconds["probe"]), theirs("probe_wall_s")),
        Cell(write.percent(probe_share(cost)), of_paper),
        Cell(write.duration(cost.wall_s.get("pass_rates"))),
        Cell(write.duration(seconds["sft"]), theirs("sft_wall_s")),
        Cell(write.duration(seconds["rl"]), theirs("rl_wall_s")),
        Cell(write.duration(total), theirs("total_wall_s"), tone="strong", bar=bar),
        _speedup(cost, grpo),
        Cell(write.reported(found("speedup"))),
        _speedup(cost, both),
    ]


def _sum(cost: Cost, phases: tuple[str, ...]) -> float | None:
    known = [value for phase in phases if (value := cost.wall_s.get(phase)) is not None]
    return sum(known) if known else None


def _speedup(cost: Cost, reference: Cost | None) -> Cell:
    found = speedup(cost, reference)
    if found is None:
        return Cell(write.DASH)
    mean, low, high = (write.ratio(value, 1.0) for value in found)
    return Cell(mean, f"{low} to {high}" if low != high else "")
