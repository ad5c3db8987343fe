"""The rule that turns a claim of a paper and the runs here into one of four words.

A claim says that arm a is above arm b on a panel. Here, the difference has a paired-bootstrap interval over games
(95 %) and a value under each training seed. In this order:

1. `not run`: one of the arms has no episodes on that panel here.
2. `direction reproduced`: the interval is above zero and a is above b under every seed.
3. `opposite`: the interval is below zero and a is below b under every seed.
4. `not distinguishable`: anything else. It is no evidence of equality.

The interval alone covers the games, not training again; the condition on every seed is what keeps two seeds that
disagree from being called a result. The paper's side has its own uncertainty: its rates come from panels of
`episodes` games, so its difference gets Newcombe's interval of two binomial rates, and the explanation says when
that interval holds zero, that is, when the paper's own panel does not establish the claim. Sizes of differences are
compared only at the paper's scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from encore.report.comparison import Claim, PairedTest, ReportedValue, Row
from encore.report.reported import PaperClaim, ReportedNumbers
from encore.statistics import wilson

NOT_RUN = "not run"
REPRODUCED = "direction reproduced"
OPPOSITE = "opposite"
UNCLEAR = "not distinguishable"
VERDICTS = (REPRODUCED, UNCLEAR, OPPOSITE, NOT_RUN)
SEEDS_WANTED = 3  # fewer, and the explanation says so


@dataclass(frozen=True, slots=True)
class Difference:
    """a minus b in fractions of 1; the interval is None where nothing can be said about it."""

    value: float
    low: float | None
    high: float | None


def reported_difference(a: ReportedValue, b: ReportedValue) -> Difference:
    """The paper's difference in fractions of 1 with Newcombe's 95 % interval (1998, Stat. Med. 17:873, method 10).

    With rates p, q and their Wilson limits (l, u) and (l', u'): low = p - q - sqrt((p - l)^2 + (u' - q)^2), high =
    p - q + sqrt((u - p)^2 + (q - l')^2). Only for rates in percent with a known number of episodes; a score has no
    known spread. Raises ValueError for values of two units.
    """
    if a.unit != b.unit:
        raise ValueError(f"values in {a.unit} and in {b.unit} have no difference")
    p, q = a.value / 100, b.value / 100
    if a.unit != "percent" or not a.episodes or not b.episodes:
        return Difference(p - q, None, None)
    of_a, of_b = wilson(p * a.episodes, a.episodes), wilson(q * b.episodes, b.episodes)
    low = p - q - math.hypot(p - of_a.low, of_b.high - q)
    high = p - q + math.hypot(of_a.high - p, q - of_b.low)
    return Difference(p - q, low, high)


def decide(test: PairedTest | None) -> str:
    """The verdict of the rule above on `a > b`, from what was found here."""
    if test is None:
        return NOT_RUN
    if test.low > 0 and all(value > 0 for value in test.per_seed):
        return REPRODUCED
    if test.high < 0 and all(value < 0 for value in test.per_seed):
        return OPPOSITE
    return UNCLEAR


def judge(
    numbers: ReportedNumbers, tests: Iterable[PairedTest], setting: str = "full", *, same_scale: bool = False
) -> list[Claim]:
    """Every claim of `setting` with its verdict, in the order of reported.yaml.

    A test of b against a serves as well. Environments without any test are left out: they were no part of the run.
    """
    tests = list(tests)
    environments = {test.environment for test in tests}
    return [
        _judge_one(claim, numbers, tests, same_scale)
        for claim in numbers.claims_of(setting)
        if claim.environment in environments
    ]


def row_verdict(row: Row, *, same_scale: bool) -> str:
    """How a row stands to its reported value: compared at the paper's own scale only, by Newcombe's interval."""
    reported = row.reported
    if reported is None or row.mean is None:
        return ""
    if not same_scale:
        return "other scale, not compared"
    if reported.unit != "percent" or not reported.episodes or row.low is None or row.high is None:
        return "no interval to compare with"
    theirs = wilson(reported.value / 100 * reported.episodes, reported.episodes)
    # Newcombe again, with the interval of this row in the place of a Wilson interval.
    p, q = row.mean, reported.value / 100
    if p - q - math.hypot(p - row.low, theirs.high - q) > 0:
        return "above the paper"
    if p - q + math.hypot(row.high - p, q - theirs.low) < 0:
        return "below the paper"
    return "agrees with the paper"


def summary(claims: Sequence[Claim]) -> str:
    """One sentence that counts the verdicts."""
    judged = [claim for claim in claims if claim.verdict != NOT_RUN]
    if not judged:
        return "No claim of the paper could be judged: no two arms that it compares were run."
    words = {REPRODUCED: "reproduced in direction", UNCLEAR: UNCLEAR, OPPOSITE: OPPOSITE}
    parts = ", ".join(f"{sum(c.verdict == verdict for c in judged)} {word}" for verdict, word in words.items())
    implied = sum(claim.basis == "implied" for claim in judged)
    missing = len(claims) - len(judged)
    text = f"Of {len(judged)} judged claim{'s' if len(judged) > 1 else ''}, {parts}."
    if implied:
        text += f" {implied} of the {len(judged)} follow from the paper's argument, which prints no such comparison."
    return text + (f" {missing} more were not run." if missing else "")


def _judge_one(claim: PaperClaim, numbers: ReportedNumbers, tests: list[PairedTest], same_scale: bool) -> Claim:
    place = (claim.environment, claim.panel, claim.metric)
    test = next(
        (
            _oriented(t, claim.a)
            for t in tests
            if (t.environment, t.panel, t.metric) == place and {t.a, t.b} == {claim.a, claim.b}
        ),
        None,
    )
    of_a = numbers.lookup(claim.environment, claim.a, claim.panel, claim.metric, setting=claim.setting)
    of_b = numbers.lookup(claim.environment, claim.b, claim.panel, claim.metric, setting=claim.setting)
    theirs = reported_difference(of_a, of_b) if of_a and of_b else None
    verdict = decide(test)
    parts = [_here(test, verdict), _paper(claim, theirs)]
    if test is not None and theirs is not None and theirs.low is not None and theirs.high is not None and same_scale:
        apart = test.low > theirs.high or test.high < theirs.low
        parts.append("The two intervals are apart." if apart else "The two intervals overlap.")
    return Claim(
        id=f"{claim.id}/{claim.panel}",
        text=claim.text,
        environment=claim.environment,
        panel=claim.panel,
        metric=claim.metric,
        a=claim.a,
        b=claim.b,
        basis=claim.basis,
        source=claim.source or (of_a.source if theirs and of_a else ""),
        reported_difference=theirs.value if theirs else None,
        reported_low=theirs.low if theirs else None,
        reported_high=theirs.high if theirs else None,
        difference=test.difference if test else None,
        low=test.low if test else None,
        high=test.high if test else None,
        verdict=verdict,
        explanation=" ".join(part for part in parts if part),
    )


def _oriented(test: PairedTest, a: str) -> PairedTest:
    if test.a == a:
        return test
    return PairedTest(
        environment=test.environment,
        panel=test.panel,
        metric=test.metric,
        a=test.b,
        b=test.a,
        difference=-test.difference,
        low=-test.high,
        high=-test.low,
        bootstrap_p=test.bootstrap_p,
        n=test.n,
        per_seed=[-value for value in test.per_seed],
        mcnemar_p=test.mcnemar_p,
    )


def _here(test: PairedTest | None, verdict: str) -> str:
    if test is None:
        return "One of the two arms has no episodes on this panel here."
    seeds = len(test.per_seed)
    text = f"{test.n} games"
    if seeds:
        text += f", {sum(value > 0 for value in test.per_seed)} of {seeds} seed{'s' if seeds > 1 else ''} in favour"
    if verdict != UNCLEAR and 0 < seeds < SEEDS_WANTED:
        text += f"; {seeds} seed{'s say' if seeds > 1 else ' says'} little about training again"
    return text + "."


def _paper(claim: PaperClaim, theirs: Difference | None) -> str:
    if theirs is None:
        return {
            "implied": "The paper argues it and prints no such comparison.",
            "figure": "The paper shows it in a figure without numbers.",
        }.get(claim.basis, "The paper prints no number for both arms.")
    if theirs.low is None or theirs.high is None:
        return "The paper's difference has no spread to judge it by."
    if theirs.low <= 0 <= theirs.high:
        return "The paper's own difference is not firm at its panel size."
    return "The paper's own difference is firm at its panel size."
