"""Every claim of a paper with its verdict and the reasons in words; the rule is in `encore.report.verdict`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from encore.report import numbers as write
from encore.report.comparison import Claim, PairedTest
from encore.report.reported import PaperClaim, ReportedNumbers
from encore.report.verdict import (
    Difference,
    decide,
    lacks,
    opposite,
    other_size,
    reported_difference,
)
from encore.statistics import holm

IMPLIED = "implied"


def judge(
    numbers: ReportedNumbers,
    tests: Iterable[PairedTest],
    setting: str = "full",
    *,
    environments: Iterable[str] | None = None,
    backbone: str | None = None,
    same_scale: bool = False,
) -> list[Claim]:
    """Every claim of `setting` with its verdict, in the order of reported.yaml.

    A test of b against a serves as well. `environments` None: those with any test; the others were no part of the run.
    Holm's correction covers the judged claims that the paper prints or shows, and apart from them those that are only
    implied. `backbone` names the paper's model whose numbers stand beside; None takes its first.
    """
    tests = list(tests)
    part = {test.environment for test in tests} if environments is None else set(environments)
    claims = [claim for claim in numbers.claims_of(setting) if claim.environment in part]
    found = [_find(claim, tests) for claim in claims]
    adjusted: dict[int, float] = {}
    for implied in (False, True):
        family = [
            (index, test)
            for index, (claim, test) in enumerate(zip(claims, found, strict=True))
            if test is not None and (claim.basis == IMPLIED) == implied
        ]
        corrected = holm([test.bootstrap_p for _, test in family])
        adjusted |= {index: p for (index, _), p in zip(family, corrected, strict=True)}
    return [
        _judge_one(claim, numbers, test, adjusted.get(index), backbone, same_scale)
        for index, (claim, test) in enumerate(zip(claims, found, strict=True))
    ]


def oriented(test: PairedTest, a: str) -> PairedTest:
    """The test as one of `a` against the other arm."""
    if test.a == a:
        return test
    return dataclasses.replace(
        test,
        a=test.b,
        b=test.a,
        difference=-test.difference,
        low=-test.high,
        high=-test.low,
        per_seed=[-value for value in test.per_seed],
    )


def _find(claim: PaperClaim, tests: list[PairedTest]) -> PairedTest | None:
    place = (claim.environment, claim.panel, claim.metric)
    for test in tests:
        if (test.environment, test.panel, test.metric) == place and {test.a, test.b} == {claim.a, claim.b}:
            return oriented(test, claim.a)
    return None


def _judge_one(
    claim: PaperClaim,
    numbers: ReportedNumbers,
    test: PairedTest | None,
    adjusted_p: float | None,
    backbone: str | None,
    same_scale: bool,
) -> Claim:
    theirs, source = _reported(claim, numbers, backbone)
    verdict = decide(test, theirs, adjusted_p, same_scale=same_scale)
    others = []
    for name in numbers.backbones():
        if name != (backbone or numbers.backbones()[0]) and (other := _reported(claim, numbers, name)[0]) is not None:
            others.append(f"{name} in the paper: {write.points(other.value)}.")
    return Claim(
        id=f"{claim.id}/{claim.panel}",
        text=claim.text,
        environment=claim.environment,
        panel=claim.panel,
        metric=claim.metric,
        a=claim.a,
        b=claim.b,
        basis=claim.basis,
        source=claim.source or source,
        reported_difference=theirs.value if theirs else None,
        reported_low=theirs.low if theirs else None,
        reported_high=theirs.high if theirs else None,
        difference=test.difference if test else None,
        low=test.low if test else None,
        high=test.high if test else None,
        verdict=verdict,
        explanation=" ".join([_here(test, theirs, adjusted_p, same_scale), _paper(claim, theirs), *others]).strip(),
        adjusted_p=adjusted_p,
    )


def _reported(claim: PaperClaim, numbers: ReportedNumbers, backbone: str | None) -> tuple[Difference | None, str]:
    of_a, of_b = (
        numbers.lookup(claim.environment, arm, claim.panel, claim.metric, setting=claim.setting, backbone=backbone)
        for arm in (claim.a, claim.b)
    )
    if of_a is None or of_b is None:
        return None, ""
    return reported_difference(of_a, of_b), ", ".join(dict.fromkeys((of_a.source, of_b.source)))


def _here(test: PairedTest | None, theirs: Difference | None, adjusted_p: float | None, same_scale: bool) -> str:
    if test is None:
        return "One of the two arms has no episodes on this panel here."
    seeds = len(test.per_seed)
    parts = [f"{test.n} games"]
    if seeds:
        parts.append(f"{sum(value > 0 for value in test.per_seed)} of {seeds} seed{'s' if seeds > 1 else ''} in favour")
    if test.difference > 0 and (reason := lacks(test, adjusted_p)):
        parts.append(reason)
    elif test.difference <= 0:
        parts.append("the opposite is established here" if opposite(test) else "no difference is established here")
    elif same_scale and theirs is not None:
        parts.append("of another size than the paper's" if other_size(test, theirs) else "of a size like the paper's")
    return "; ".join(parts) + "."


def _paper(claim: PaperClaim, theirs: Difference | None) -> str:
    if theirs is None:
        return {
            IMPLIED: "The paper argues it and prints no such comparison.",
            "figure": "The paper shows it in a figure without numbers.",
        }.get(claim.basis, "The paper prints no number for both arms.")
    if theirs.low is None or theirs.high is None:
        return "The paper's difference has no spread to judge it by."
    if theirs.low <= 0 <= theirs.high:
        return "The paper's own difference is not firm at its panel size."
    return "The paper's own difference is firm at its panel size."
