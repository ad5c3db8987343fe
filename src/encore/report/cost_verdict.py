"""What a paper says of time, against the times here. A ratio of times can be judged at any scale, seconds cannot.

The paper times each arm once, so its side has no spread. Here every seed is timed: `reproduced` if the claim holds
under every seed, `direction only` if it holds for the mean over seeds and not under each, `not reproduced` otherwise,
and `not run` where an arm has no times. A machine that does other work at the time makes any of these wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from encore.report.comparison import Cost, CostClaim
from encore.report.reported import PaperCostClaim, ReportedNumbers
from encore.report.verdict import DIRECTION, NOT_REPRODUCED, NOT_RUN, REPRODUCED


def judge(numbers: ReportedNumbers, costs: Sequence[Cost]) -> list[CostClaim]:
    """Every claim about time of the environments that have costs, in the order of reported.yaml."""
    by_arm = {(cost.environment, cost.method): cost for cost in costs}
    environments = {cost.environment for cost in costs}
    return [_judge_one(claim, numbers, by_arm) for claim in numbers.cost_claims if claim.environment in environments]


def probe_share(cost: Cost) -> float | None:
    """The probe's part of the arm's training time, a fraction of 1; None where either was not timed."""
    probe, total = cost.wall_s.get("probe"), cost.training_s
    return None if probe is None or not total else probe / total


def speedup(cost: Cost, reference: Cost | None) -> tuple[float, float, float] | None:
    """How many times as long the reference takes: of the means, and the least and the most over seeds.

    Equal numbers of seeds are paired by place; else the means stand alone.
    """
    if reference is None or not cost.training_s or not reference.training_s:
        return None
    mean = reference.training_s / cost.training_s
    ours, theirs = cost.training_per_seed_s, reference.training_per_seed_s
    if len(ours) != len(theirs) or not ours or 0 in ours:
        return mean, mean, mean
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return mean, min(ratios), max(ratios)


def _judge_one(claim: PaperCostClaim, numbers: ReportedNumbers, by_arm: dict[tuple[str, str], Cost]) -> CostClaim:
    value: tuple[float, float, float] | None = None
    cost = by_arm.get((claim.environment, claim.a))
    bound = claim.bound if claim.kind == "probe_share" else 1.0
    if cost is not None and claim.kind == "faster":
        value = speedup(cost, by_arm.get((claim.environment, claim.b)))
    elif cost is not None and (share := probe_share(cost)) is not None:
        probe = cost.wall_s["probe"] or 0.0
        shares = [probe / total for total in cost.training_per_seed_s if total] or [share]
        value = share, min(shares), max(shares)
    return CostClaim(
        id=claim.id,
        text=claim.text,
        environment=claim.environment,
        kind=claim.kind,
        source=claim.source,
        a=claim.a,
        b=claim.b,
        bound=bound,
        reported=_reported(claim, numbers),
        value=value[0] if value else None,
        low=value[1] if value else None,
        high=value[2] if value else None,
        verdict=_decide(claim.kind, value, bound),
        explanation=_explain(value, cost),
    )


def _reported(claim: PaperCostClaim, numbers: ReportedNumbers) -> float | None:
    def seconds(arm: str, metric: str) -> float | None:
        found = numbers.lookup(claim.environment, arm, "cost", metric)
        return found.value if found else None

    if claim.kind == "faster" and seconds(claim.b, "speedup") == 1.0:
        return seconds(
            claim.a, "speedup"
        )  # as printed: minutes are rounded, and their ratio may differ in its last digit
    of_a = seconds(claim.a, "total_wall_s")
    other = seconds(claim.b, "total_wall_s") if claim.kind == "faster" else seconds(claim.a, "probe_wall_s")
    if not of_a or other is None:
        return None
    return other / of_a


def _decide(kind: str, value: tuple[float, float, float] | None, bound: float) -> str:
    if value is None:
        return NOT_RUN
    mean, low, high = value
    holds, always = (mean > bound, low > bound) if kind == "faster" else (mean < bound, high < bound)
    return REPRODUCED if always else DIRECTION if holds else NOT_REPRODUCED


def _explain(value: tuple[float, float, float] | None, cost: Cost | None) -> str:
    if value is None or cost is None:
        return "One of the times was not measured here."
    seeds = len(cost.training_per_seed_s)
    return f"{seeds} seed{'s' if seeds != 1 else ''} timed here; the paper timed each arm once."
