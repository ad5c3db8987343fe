"""The paper's claims on the targets that were run here, and the paper's tables beside what was reproduced."""

from __future__ import annotations

from dataclasses import dataclass, replace

from encore.report.comparison import ReportedValue
from encore.report.verdict import (
    ALPHA,
    DIRECTION,
    NOT_REPRODUCED,
    NOT_RUN,
    OTHER_SCALE,
    REPRODUCED,
    reported_difference,
)
from encore.statistics import holm, success_interval
from experiments.g2is.collect import Collected
from experiments.g2is.paired import Gain, gain
from experiments.g2is.reported import PaperClaim, Reported

JUDGED = ("exact", "loss")


@dataclass(frozen=True)
class Judged:
    """A claim on one target, at one fraction, by one metric; `gain` None: one of the two arms did not run.

    `adjusted_p`: by Holm, over the claims that the paper prints, or over those that it does not, by the same metric.
    """

    claim: PaperClaim
    target: str
    fraction: float
    metric: str
    gain: Gain | None
    adjusted_p: float | None = None

    @property
    def verdict(self) -> str:
        """In the words of `encore.report.verdict`: see there."""
        if self.gain is None:
            return NOT_RUN
        if self.gain.difference <= 0:
            return NOT_REPRODUCED
        p = self.gain.p if self.adjusted_p is None else self.adjusted_p
        return REPRODUCED if self.gain.verdict == "better" and p <= ALPHA else DIRECTION


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
    return adjusted(judged)


def adjusted(judged: list[Judged]) -> list[Judged]:
    """The same with p-values adjusted within each family."""
    made = list(judged)
    families: dict[tuple[bool, str], list[int]] = {}
    for place, one in enumerate(judged):
        if one.gain is not None:
            families.setdefault((one.claim.table is None, one.metric), []).append(place)
    for places in families.values():
        for place, p in zip(places, holm([g.p for at in places if (g := judged[at].gain) is not None]), strict=True):
            made[place] = replace(judged[place], adjusted_p=p)
    return made


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
                    rows.append(Beside(table.id, task, method, value, None, None, None, f"{NOT_RUN}: {why}"))
                    continue
                interval = success_interval(arm.scores["exact"])
                verdict = OTHER_SCALE
                if same_scale:
                    inside = interval.low <= value.value / 100 <= interval.high
                    verdict = REPRODUCED if inside else NOT_REPRODUCED
                rows.append(Beside(table.id, task, method, value, interval.mean, interval.low, interval.high, verdict))
    return rows


def summary(judged: list[Judged]) -> str:
    """In words, whether G2IS beats LESS and chance here: better somewhere, worse nowhere, by loss and exact match."""
    parts = []
    for claim, rival in (("g2is-above-less", "LESS"), ("g2is-above-random", "a random choice")):
        counts = {}
        for metric in JUDGED:
            gains = [one.gain.verdict for one in judged if one.claim.id == claim and one.metric == metric and one.gain]
            counts[metric] = (gains.count("better"), gains.count("worse"), len(gains))
        better, worse, number = counts["loss"]
        beats = all(one[1] == 0 for one in counts.values()) and any(one[0] for one in counts.values())
        if not number:
            parts.append(f"G2IS against {rival}: not run.")
            continue
        parts.append(
            f"G2IS {'beats' if beats else 'does not beat'} {rival} here: of {number} comparisons of a target "
            f"and a fraction it is better on {better} and worse on {worse} by target loss, better on "
            f"{counts['exact'][0]} and worse on {counts['exact'][1]} by exact match; the rest cannot be told apart."
        )
    return " ".join(parts)
