"""The verdict rule, on both sides of each of its conditions."""

from __future__ import annotations

import dataclasses

import pytest

from encore.report import claims, cost_verdict, verdict
from encore.report.comparison import Cost, PairedTest, ReportedValue, Row
from encore.report.reported import ReportedNumbers


def pair(
    low: float, high: float, per_seed: list[float], a: str = "sft", b: str = "base", p: float = 0.0001
) -> PairedTest:
    return PairedTest("alfworld", "seen", "success", a, b, (low + high) / 2, low, high, p, 140, per_seed)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (None, verdict.NOT_RUN),
        (pair(0.02, 0.2, [0.1, 0.12]), verdict.REPRODUCED),
        (pair(0.02, 0.2, [0.3, -0.01]), verdict.DIRECTION),  # seeds that disagree are no result
        (pair(-0.02, 0.2, [0.1, 0.12]), verdict.DIRECTION),
        (pair(0.0, 0.2, [0.1]), verdict.DIRECTION),  # zero is inside
        (pair(0.02, 0.2, [0.1, 0.12], p=0.06), verdict.DIRECTION),
        (pair(-0.1, 0.1, [0.0]), verdict.NOT_REPRODUCED),
        (pair(-0.2, -0.02, [-0.1, -0.12]), verdict.NOT_REPRODUCED),
    ],
)
def test_rule(test: PairedTest | None, expected: str) -> None:
    assert verdict.decide(test) == expected


def test_the_correction_can_take_a_verdict_away_and_says_so() -> None:
    test = pair(0.02, 0.2, [0.1, 0.12], p=0.01)
    assert verdict.decide(test) == verdict.REPRODUCED
    assert verdict.decide(test, adjusted_p=0.2) == verdict.DIRECTION
    assert "Holm" in verdict.lacks(test, 0.2)


@pytest.mark.parametrize(
    ("theirs", "same_scale", "expected"),
    [
        (verdict.Difference(0.12, 0.0, 0.24), True, verdict.REPRODUCED),
        (verdict.Difference(0.60, 0.5, 0.70), True, verdict.DIRECTION),  # established, and of another size
        (verdict.Difference(0.60, 0.5, 0.70), False, verdict.REPRODUCED),  # sizes are not compared across scales
        (verdict.Difference(0.60, None, None), True, verdict.REPRODUCED),  # nothing to compare the size with
    ],
)
def test_sizes_count_at_the_papers_scale_only(theirs: verdict.Difference, same_scale: bool, expected: str) -> None:
    assert verdict.decide(pair(0.02, 0.2, [0.1, 0.12]), theirs, same_scale=same_scale) == expected


def test_a_test_the_other_way_round_gives_the_same_claim(numbers: ReportedNumbers) -> None:
    forward = claims.judge(numbers, [pair(0.02, 0.2, [0.1])], "full")
    backward = claims.judge(numbers, [pair(-0.2, -0.02, [-0.1], "base", "sft")], "full")
    assert forward == backward
    assert forward[0].verdict == verdict.REPRODUCED and forward[0].reported_difference == pytest.approx(0.3593)
    assert {claim.verdict for claim in forward[1:]} == {verdict.NOT_RUN}


def test_only_environments_that_ran_are_judged(numbers: ReportedNumbers) -> None:
    assert claims.judge(numbers, [], "full") == []
    full = claims.judge(numbers, [pair(0.02, 0.2, [0.1], "prism_gini", "random")], "full")
    assert {claim.environment for claim in full} == {"alfworld"}


def test_printed_and_implied_claims_are_corrected_apart(numbers: ReportedNumbers) -> None:
    tests = [
        pair(0.02, 0.2, [0.1], "sft", "base", p=0.01),
        pair(0.02, 0.2, [0.1], "prism_gini", "random", p=0.02),
        pair(0.02, 0.2, [0.1], "prism_gini", "loss", p=0.04),
    ]
    found = {claim.id: claim for claim in claims.judge(numbers, tests)}
    assert found["alf-sft-base/seen"].adjusted_p == pytest.approx(0.02)
    assert found["alf-gini-random/seen"].adjusted_p == pytest.approx(0.02)
    assert found["alf-gini-loss/seen"].adjusted_p == pytest.approx(0.04)
    assert found["alf-gini-hpt/seen"].adjusted_p is None


def test_newcombe_interval_of_the_paper() -> None:
    """Newcombe (1998), table II, method 10: 56/70 against 48/80 has 0.0524 to 0.3339."""
    a = ReportedValue(80.0, "percent", "", episodes=70)
    b = ReportedValue(60.0, "percent", "", episodes=80)
    difference = verdict.reported_difference(a, b)
    assert difference.value == pytest.approx(0.2)
    assert (difference.low, difference.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_score_has_the_interval_of_a_rate_which_is_the_widest(numbers: ReportedNumbers) -> None:
    a, b = ReportedValue(85.15, "points", "", episodes=128), ReportedValue(79.75, "points", "", episodes=128)
    rates = [dataclasses.replace(value, unit="percent") for value in (a, b)]
    assert verdict.reported_difference(a, b) == verdict.reported_difference(*rates)
    assert verdict.reported_difference(a, dataclasses.replace(b, episodes=None)).low is None
    with pytest.raises(ValueError, match="no difference"):
        verdict.reported_difference(a, rates[1])


def test_margins_that_the_paper_itself_does_not_settle(numbers: ReportedNumbers) -> None:
    """At 128 episodes, Gini against HPT on Unseen is 1.2 standard errors and against Random 3.3."""
    judged = claims.judge(numbers, [pair(0.02, 0.2, [0.1], "prism_gini", "random")], "full")
    by_id = {claim.id: claim.explanation for claim in judged}
    assert "not firm" in by_id["alf-gini-hpt/unseen"]
    assert "is firm" in by_id["alf-gini-random/unseen"]


def test_the_opposite_is_said_where_it_is_established(numbers: ReportedNumbers) -> None:
    clear, unclear = pair(-0.2, -0.02, [-0.1, -0.12]), pair(-0.2, 0.02, [-0.1, -0.12])
    assert "the opposite is established" in claims.judge(numbers, [clear])[0].explanation
    assert "no difference is established" in claims.judge(numbers, [unclear])[0].explanation


def test_a_claim_of_webshop_names_the_other_backbone(numbers: ReportedNumbers) -> None:
    test = dataclasses.replace(pair(0.02, 0.2, [0.1], "prism_gini", "random"), environment="webshop", panel="test")
    qwen = {claim.id: claim for claim in claims.judge(numbers, [test])}["web-gini-random/test"]
    llama = {claim.id: claim for claim in claims.judge(numbers, [test], backbone="Llama-3.1-8B-Instruct")}
    assert qwen.reported_difference == pytest.approx(0.0937)
    assert "Llama-3.1-8B-Instruct in the paper: +14.1" in qwen.explanation
    assert llama["web-gini-random/test"].reported_difference == pytest.approx(0.1406)


def row_of(mean: float | None, low: float | None, high: float | None, reported: ReportedValue | None) -> Row:
    return Row("alfworld", "sft", "SFT", "seen", "success", [0], [mean or 0.0], mean, low, high, "", 140, 0.0, reported)


def test_values_are_judged_at_the_papers_scale_by_both_intervals() -> None:
    paper = ReportedValue(45.31, "percent", "Table 1 (a)", episodes=128)
    assert verdict.row_verdict(row_of(0.9, 0.8, 0.95, paper), same_scale=False) == verdict.OTHER_SCALE
    assert verdict.row_verdict(row_of(0.9, 0.8, 0.95, paper), same_scale=True) == verdict.NOT_REPRODUCED
    assert verdict.row_verdict(row_of(0.1, 0.05, 0.2, paper), same_scale=True) == verdict.NOT_REPRODUCED
    assert verdict.row_verdict(row_of(0.5, 0.4, 0.6, paper), same_scale=True) == verdict.REPRODUCED
    # Outside the paper's interval (36.9 to 53.9) and inside that of the difference: both sides are uncertain.
    assert verdict.row_verdict(row_of(0.55, 0.45, 0.65, paper), same_scale=True) == verdict.REPRODUCED
    assert verdict.row_verdict(row_of(0.5, 0.4, 0.6, None), same_scale=True) == ""
    assert verdict.row_verdict(row_of(None, None, None, paper), same_scale=True) == verdict.NOT_RUN


def cost(method: str, probe: float | None, per_seed: list[float]) -> Cost:
    mean = sum(per_seed) / len(per_seed)
    wall_s = {"sft": mean} if probe is None else {"probe": probe, "sft": mean - probe}
    return Cost("webshop", method, method, len(per_seed), {**wall_s, "evaluate": 900.0}, training_per_seed_s=per_seed)


@pytest.mark.parametrize(
    ("gini", "expected"),
    [
        ([50.0, 60.0], verdict.REPRODUCED),
        ([50.0, 104.0], verdict.DIRECTION),
        ([120.0, 130.0], verdict.NOT_REPRODUCED),
    ],
)
def test_faster_than_grpo_under_every_seed(numbers: ReportedNumbers, gini: list[float], expected: str) -> None:
    judged = cost_verdict.judge(numbers, [cost("prism_gini", 1.0, gini), cost("grpo", None, [100.0, 102.0])])
    by_id = {claim.id: claim for claim in judged}
    claim = by_id["web-time-gini-grpo"]
    assert claim.verdict == expected
    assert claim.reported == 1.76  # as printed, not 5h53m by 3h19m
    assert claim.value == pytest.approx(202 / sum(gini)) and claim.low == pytest.approx(102 / gini[1])
    assert by_id["web-time-cv-grpo"].verdict == verdict.NOT_RUN
    assert all(claim.environment == "webshop" for claim in judged)


def test_the_share_of_the_probe_leaves_the_evaluation_out(numbers: ReportedNumbers) -> None:
    judged = cost_verdict.judge(numbers, [cost("prism_gini", 2.0, [50.0, 200.0])])
    share = next(claim for claim in judged if claim.kind == "probe_share")
    assert share.value == pytest.approx(2 / 125) and (share.low, share.high) == pytest.approx((0.01, 0.04))
    assert share.verdict == verdict.DIRECTION  # below 2 % in the mean, not under each seed
    assert share.reported == pytest.approx(108 / (3 * 3600 + 19 * 60))


def test_summary_counts_and_says_what_is_only_implied(numbers: ReportedNumbers) -> None:
    judged = claims.judge(
        numbers, [pair(0.02, 0.2, [0.1]), pair(-0.1, 0.12, [0.01], "prism_gini", "inverse_gini")], "full"
    )
    text = verdict.summary(judged)
    assert text.startswith("Of 2 judged claims, 1 reproduced, 1 direction only, 0 not reproduced.")
    assert "1 of the 2 follows" in text and "25 more were not run" in text
    assert "No claim" in verdict.summary([])
