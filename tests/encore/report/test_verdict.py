"""The verdict rule, on both sides of each of its conditions."""

from __future__ import annotations

import dataclasses

import pytest

from encore.report import verdict
from encore.report.comparison import PairedTest, ReportedValue, Row
from encore.report.reported import ReportedNumbers


def test_of(low: float, high: float, per_seed: list[float], a: str = "sft", b: str = "base") -> PairedTest:
    return PairedTest("alfworld", "seen", "success", a, b, (low + high) / 2, low, high, 0.01, 140, per_seed)


test_of.__test__ = False  # type: ignore[attr-defined]  # a maker, not a test


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (None, verdict.NOT_RUN),
        (test_of(0.02, 0.2, [0.1, 0.12]), verdict.REPRODUCED),
        (test_of(0.02, 0.2, [0.3, -0.01]), verdict.UNCLEAR),  # seeds that disagree are no result
        (test_of(-0.02, 0.2, [0.1, 0.12]), verdict.UNCLEAR),
        (test_of(0.0, 0.2, [0.1]), verdict.UNCLEAR),  # zero is inside
        (test_of(-0.2, -0.02, [-0.1, -0.12]), verdict.OPPOSITE),
        (test_of(-0.2, -0.02, [-0.3, 0.01]), verdict.UNCLEAR),
    ],
)
def test_rule(test: PairedTest | None, expected: str) -> None:
    assert verdict.decide(test) == expected


def test_a_test_the_other_way_round_gives_the_same_claim(numbers: ReportedNumbers) -> None:
    forward = verdict.judge(numbers, [test_of(0.02, 0.2, [0.1])], "full")
    backward = verdict.judge(numbers, [test_of(-0.2, -0.02, [-0.1], "base", "sft")], "full")
    assert forward == backward
    assert forward[0].verdict == verdict.REPRODUCED and forward[0].reported_difference == pytest.approx(0.3593)
    assert {claim.verdict for claim in forward[1:]} == {verdict.NOT_RUN}


def test_only_environments_that_ran_are_judged(numbers: ReportedNumbers) -> None:
    assert verdict.judge(numbers, [], "full") == []
    full = verdict.judge(numbers, [test_of(0.02, 0.2, [0.1], "prism_gini", "random")], "full")
    assert {claim.environment for claim in full} == {"alfworld"}


def test_newcombe_interval_of_the_paper() -> None:
    """Newcombe (1998), table II, method 10: 56/70 against 48/80 has 0.0524 to 0.3339."""
    a = ReportedValue(80.0, "percent", "", episodes=70)
    b = ReportedValue(60.0, "percent", "", episodes=80)
    difference = verdict.reported_difference(a, b)
    assert difference.value == pytest.approx(0.2)
    assert (difference.low, difference.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_score_has_no_interval() -> None:
    a, b = ReportedValue(85.15, "points", "", episodes=128), ReportedValue(79.75, "points", "", episodes=128)
    assert verdict.reported_difference(a, b).low is None
    with pytest.raises(ValueError, match="no difference"):
        verdict.reported_difference(a, dataclasses.replace(b, unit="percent"))


def test_margins_that_the_paper_itself_does_not_settle(numbers: ReportedNumbers) -> None:
    """At 128 episodes, Gini against HPT on Unseen is 1.2 standard errors and against Random 3.3."""
    claims = verdict.judge(numbers, [test_of(0.02, 0.2, [0.1], "prism_gini", "random")], "full")
    by_id = {claim.id: claim.explanation for claim in claims}
    assert "not firm" in by_id["alf-gini-hpt/unseen"]
    assert "is firm" in by_id["alf-gini-random/unseen"]


def row_of(mean: float, low: float, high: float, reported: ReportedValue | None) -> Row:
    return Row("alfworld", "sft", "SFT", "seen", "success", [0], [mean], mean, low, high, "", 140, 0.0, reported)


def test_rows_are_compared_at_the_same_scale_only() -> None:
    paper = ReportedValue(45.31, "percent", "Table 1 (a)", episodes=128)
    assert verdict.row_verdict(row_of(0.9, 0.8, 0.95, paper), same_scale=False) == "other scale, not compared"
    assert verdict.row_verdict(row_of(0.9, 0.8, 0.95, paper), same_scale=True) == "above the paper"
    assert verdict.row_verdict(row_of(0.1, 0.05, 0.2, paper), same_scale=True) == "below the paper"
    assert verdict.row_verdict(row_of(0.5, 0.4, 0.6, paper), same_scale=True) == "agrees with the paper"
    assert verdict.row_verdict(row_of(0.5, 0.4, 0.6, None), same_scale=True) == ""


def test_summary_counts_and_says_what_is_only_implied(numbers: ReportedNumbers) -> None:
    claims = verdict.judge(
        numbers,
        [test_of(0.02, 0.2, [0.1]), test_of(-0.1, 0.1, [0.0], "prism_gini", "random")],
        "full",
    )
    text = verdict.summary(claims)
    assert text.startswith("Of 2 judged claims, 1 reproduced in direction, 1 not distinguishable, 0 opposite.")
    assert "1 of the 2 follow" in text and "4 more were not run" in text
    assert "No claim" in verdict.summary([])
