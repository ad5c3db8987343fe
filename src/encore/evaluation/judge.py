"""Verdicts of a judge by majority: is a response correct, is it preferred to another.

The protocol of MAESTRO's Table 1 (arXiv 2601.07208): "preference percentage evaluated by an external LLM judge via a
3-way majority vote". The paper does not say what a response is preferred to; both readings are here.

A case's outcome is what more than half of its votes say. Everything else is `undecided`: votes that differ, and votes
that the judge did not give in a form that can be read. An undecided case counts as neither correct nor preferred and
stays in the denominator, so that a judge that fails cannot raise a score; how many there are is in the summary.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from encore import statistics
from encore.errors import UserError
from encore.evaluation.judge_asking import Ballot, Voters
from encore.evaluation.judge_prompts import CORRECTNESS, PREFERENCE
from encore.evaluation.judge_settings import JudgeSettings

__all__ = ["Case", "Comparison", "Judge", "JudgeSettings", "Ruling", "summarize"]

UNDECIDED = "undecided"
Swap = Literal["alternate", "both", "none"]


@dataclass(frozen=True)
class Case:
    """A response to check against a reference."""

    id: str
    question: str
    reference: str
    response: str


@dataclass(frozen=True)
class Comparison:
    """A response to compare with a rival, for instance the reference or a baseline's."""

    id: str
    question: str
    response: str
    rival: str


@dataclass(frozen=True)
class Ruling:
    """`outcome` is `correct`, `incorrect`, `win`, `loss` (of the response), `tie` or `undecided`; so is each vote."""

    id: str
    outcome: str
    votes: tuple[str, ...]


class Judge:
    """A judge with a memory: see `JudgeSettings` for whom it asks, `Voters` for the file `cache`."""

    def __init__(self, settings: JudgeSettings, cache: Path | None = None) -> None:
        self.settings = settings
        self.voters = Voters(settings, cache)

    def correctness(self, cases: Sequence[Case]) -> list[Ruling]:
        """One ruling a case, in order. Raises UserError where the endpoint is given up; votes so far are kept."""
        ballots = [
            Ballot(
                CORRECTNESS,
                {"question": case.question, "reference": case.reference, "response": case.response},
                vote,
            )
            for case in cases
            for vote in range(self.settings.votes)
        ]
        names = {"CORRECT": "correct", "INCORRECT": "incorrect", None: UNDECIDED}
        votes = [names[verdict] for verdict in self.voters.cast(ballots)]
        return self._rulings([case.id for case in cases], votes)

    def preferences(self, comparisons: Sequence[Comparison], swap: Swap = "alternate") -> list[Ruling]:
        """One ruling a comparison, in order; errors as in `correctness`.

        Judges favour a place, so places are swapped. `alternate`: from vote to vote, the first vote's place drawn by
        the hash of the comparison. `both`: each vote asks in both orders and is a tie if the two disagree (twice as
        many requests). `none`: the response always stands first.
        """
        if swap not in ("alternate", "both", "none"):
            raise UserError(f"judge.swap is {swap!r}: choose from alternate, both, none")
        ballots, swapped = [], []
        for one in comparisons:
            for vote in range(self.settings.votes):
                for order in self._orders(one, vote, swap):
                    first, second = (one.rival, one.response) if order else (one.response, one.rival)
                    fields = {"question": one.question, "first": first, "second": second}
                    ballots.append(Ballot(PREFERENCE, fields, vote))
                    swapped.append(order)
        votes = [_named(verdict, order) for verdict, order in zip(self.voters.cast(ballots), swapped, strict=True)]
        if swap == "both":
            votes = [_agreed(*pair) for pair in zip(votes[::2], votes[1::2], strict=True)]
        return self._rulings([one.id for one in comparisons], votes)

    def record(self) -> dict[str, Any]:
        """For a run's record: who judged with which prompts, and how often it was asked. Holds no key."""
        return {
            "settings": asdict(self.settings),
            "templates": {template.name: template.sha256 for template in (CORRECTNESS, PREFERENCE)},
            "counts": asdict(self.voters.counts),
        }

    def _rulings(self, ids: list[str], votes: list[str]) -> list[Ruling]:
        each = self.settings.votes
        own = [tuple(votes[place * each : (place + 1) * each]) for place in range(len(ids))]
        return [Ruling(name, _majority(cast), cast) for name, cast in zip(ids, own, strict=True)]

    def _orders(self, one: Comparison, vote: int, swap: Swap) -> list[bool]:
        """For each request of a vote, whether the rival stands first."""
        if swap == "none":
            return [False]
        if swap == "both":
            return [False, True]
        drawn = hashlib.sha256(f"{self.settings.seed}\0{one.question}\0{one.response}\0{one.rival}".encode()).digest()
        return [(drawn[0] + vote) % 2 == 1]


def summarize(rulings: Sequence[Ruling]) -> dict[str, float]:
    """Share of good outcomes (`correct` or `win`) of all cases with its Wilson interval, and the count of each outcome.

    Empty for no rulings.
    """
    if not rulings:
        return {}
    counts = Counter(ruling.outcome for ruling in rulings)
    good = counts["correct"] + counts["win"]
    interval = statistics.wilson(good, len(rulings))
    summary = {"rate": good / len(rulings), "rate_low": interval.low, "rate_high": interval.high}
    outcomes = ("correct", "incorrect") if counts["correct"] + counts["incorrect"] else ("win", "tie", "loss")
    split = sum(len(set(ruling.votes)) > 1 for ruling in rulings)
    return summary | {
        "cases": len(rulings),
        **{name: counts[name] for name in (*outcomes, UNDECIDED)},
        "split_votes": split,
    }


def _named(verdict: str | None, swapped: bool) -> str:
    if verdict is None:
        return UNDECIDED
    if verdict == "TIE":
        return "tie"
    return "win" if (verdict == "A") != swapped else "loss"


def _agreed(one: str, other: str) -> str:
    if UNDECIDED in (one, other):
        return UNDECIDED
    return one if one == other else "tie"


def _majority(votes: Sequence[str]) -> str:
    (outcome, number), *_ = Counter(votes).most_common(1)
    return outcome if 2 * number > len(votes) else UNDECIDED
