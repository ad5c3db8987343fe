"""The paper's claims on the targets that were run here, and the paper's tables beside what was reproduced."""

from __future__ import annotations

from dataclasses import dataclass

from encore.report.comparison import ReportedValue
from encore.report.verdict import reported_difference
from encore.statistics import success_interval
from experiments.g2is.collect import Collected
from experiments.g2is.paired import Gain, gain
from experiments.g2is.reported import PaperClaim, Reported

JUDGED = ("exact", "loss")
WORDS = {"better": "direction reproduced", "worse": "opposite", "not distinguishable": "not distinguishable"}


@dataclass(frozen=True)
class Judged:
    """A claim on one target, at one fraction, by one metric; `gain` None: one of the two arms did not run."""

    claim: PaperClaim
    target: str
    fraction: float
    metric: str
    gain: Gain | None

    @property
    def verdict(self) -> str:
        return "not run" if self.gain is None else WORDS[self.gain.verdict]


def judge(found: Collected, numbers: Reported) -> list[Judged]:
    """Every claim on every target, at every fraction of `g2is.fractions`."""
    judged = []
    for claim in numbers.claims:
        for fraction in found.g2is.fractions:
            for target in found.g2is.targets:
                a, b = (found.find(arm, target, fraction) for arm in (claim.a, claim.b))
                for metric in JUDGED:
                    tested = None if a is None or b is None else gain(a.scores[metric], b.scores[metric])
                    judged.append(Judged(claim, target, fraction, metric, tested))
    return judged


def range_of(claim: PaperClaim, numbers: Reported) -> tuple[str, int, int]:
    """The paper's differences in words, how many tasks they are of, and on how many the difference is firm.

    Firm: Newcombe's 95 % interval of two single runs on as many examples as the scores fit does not hold zero.
    """
    if claim.table is None:
        return "not printed", 0, 0
    differences, firm = [], 0
    for task in numbers.tables[claim.table].rows[claim.a]:
        a, b = (numbers.value(claim.table, arm, task) for arm in (claim.a, claim.b))
        assert a is not None and b is not None
        found = reported_difference(a, b)
        differences.append(100 * found.value)
        firm += found.low is not None and found.low > 0
    return f"{min(differences):+.2f} to {max(differences):+.2f}", len(differences), firm


@dataclass(frozen=True)
class Beside:
    """A number of the paper and what stands beside it here."""

    table: str
    task: str
    method: str
    reported: ReportedValue
    reproduced: float | None
    low: float | None
    high: float | None
    verdict: str


def beside(found: Collected, numbers: Reported, *, same_scale: bool = False) -> list[Beside]:
    """Tables A and B, number by number. A task that is no target here was not run; another scale is not compared."""
    rows = []
    for table in numbers.tables.values():
        for task in next(iter(table.rows.values())):
            for method in table.rows:
                value = numbers.value(table.id, method, task)
                assert value is not None
                at = table.fraction if table.fraction in found.g2is.fractions else min(found.g2is.fractions)
                arm = found.find(method, task, at) if task in found.g2is.targets else None
                if arm is None:
                    why = f"{method} was not run" if task in found.g2is.targets else f"{task} is no target here"
                    rows.append(Beside(table.id, task, method, value, None, None, None, f"not run: {why}"))
                    continue
                interval = success_interval(arm.scores["exact"])
                verdict = "other scale, not compared"
                if same_scale:
                    inside = interval.low <= value.value / 100 <= interval.high
                    verdict = "agrees" if inside else "above" if interval.low > value.value / 100 else "below"
                rows.append(Beside(table.id, task, method, value, interval.mean, interval.low, interval.high, verdict))
    return rows


def summary(judged: list[Judged]) -> str:
    """In words, whether G2IS beats LESS and chance here."""
    parts = []
    for claim, rival in (("g2is-above-less", "LESS"), ("g2is-above-random", "a random choice")):
        verdicts = [one.verdict for one in judged if one.claim.id == claim and one.metric == "loss"]
        exact = [one.verdict for one in judged if one.claim.id == claim and one.metric == "exact"]
        if not verdicts or set(verdicts) == {"not run"}:
            parts.append(f"G2IS against {rival}: not run.")
            continue
        better, worse = (verdicts.count(WORDS[word]) for word in ("better", "worse"))
        beats = better > 0 and better > worse
        parts.append(
            f"G2IS {'beats' if beats else 'does not beat'} {rival} here: by target loss it is better on {better} and "
            f"worse on {worse} of {len(verdicts)} comparisons of a target and a fraction; by exact match better on "
            f"{exact.count(WORDS['better'])} and worse on {exact.count(WORDS['worse'])}; the rest cannot be told apart."
        )
    return " ".join(parts)
