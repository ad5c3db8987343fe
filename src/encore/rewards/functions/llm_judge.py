"""What a language model behind an OpenAI-compatible endpoint thinks of a response: a grade, or a place in its group.

MAESTRO's extra baseline (arXiv 2601.07208, Table 3) rewards with a judge that ranks the rollouts of a group; its prompt
is not public. Answers are kept on disk and asked for once, as in `encore.evaluation.judge`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

from encore.errors import UserError
from encore.evaluation.judge_asking import Ballot, Voters
from encore.evaluation.judge_prompts import RANK, SCORE
from encore.evaluation.judge_settings import JudgeSettings
from encore.rewards.context import Context
from encore.rewards.texts import text_of

CACHE = "llm_judge.jsonl"


@dataclass(frozen=True)
class Settings:
    """`mode`: `score` grades each response alone; `rank` orders those of a group, shuffled anew for each vote. The
    reward is the mean over the judge's `votes` that can be read.
    """

    mode: Literal["score", "rank"] = "rank"
    judge: JudgeSettings = field(default_factory=JudgeSettings)


class Reward:
    name = __name__ = "llm_judge"
    label = "LLM judge"

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings, self.context = settings, context
        self._voters: Voters | None = None

    def skip(self) -> str | None:
        if self.settings.mode == "rank" and (self.context.group_size or 0) < 2:
            return "ranks the responses to a prompt: give group_size, at least 2, in its context"
        return self.settings.judge.missing()

    @property
    def voters(self) -> Voters:
        """Who is asked; made at first use, so that a reward can be named without a cache on disk."""
        if self._voters is None:
            folder = self.context.cache
            self._voters = Voters(self.settings.judge, None if folder is None else folder / CACHE)
        return self._voters

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        """From 0 to 1; None where no vote could be read. Raises UserError where the endpoint is given up."""
        asked = [text_of(prompt) for prompt in prompts]
        given = [text_of(completion) for completion in completions]
        return self._grades(asked, given) if self.settings.mode == "score" else self._places(asked, given)

    def _grades(self, prompts: list[str], completions: list[str]) -> list[float | None]:
        votes = self.settings.judge.votes
        ballots = [
            Ballot(SCORE, {"question": prompt, "response": completion}, vote)
            for prompt, completion in zip(prompts, completions, strict=True)
            for vote in range(votes)
        ]
        grades = [None if verdict is None else int(verdict) / 10 for verdict in self.voters.cast(ballots)]
        return [_mean(grades[start : start + votes]) for start in range(0, len(grades), votes)]

    def _places(self, prompts: list[str], completions: list[str]) -> list[float | None]:
        size, votes = self.context.group_size, self.settings.judge.votes
        assert size is not None
        if len(prompts) % size or any(prompts[place] != prompts[place // size * size] for place in range(len(prompts))):
            raise UserError(
                f"reward llm_judge ranks groups of {size} responses to one prompt, and got {len(prompts)} responses "
                "that are not so: keep each prompt's responses together"
            )
        ballots, orders = [], []
        for start in range(0, len(prompts), size):
            for vote in range(votes):
                own = completions[start : start + size]
                order = list(range(size))
                random.Random(f"{self.settings.judge.seed} {vote} {prompts[start]}").shuffle(order)
                orders.append(order)
                shown = "\n".join(
                    f"<response_{number}>\n{own[member]}\n</response_{number}>"
                    for number, member in enumerate(order, 1)
                )
                fields = {"question": prompts[start], "responses": shown, "number": str(size)}
                ballots.append(Ballot(RANK, fields, vote, lambda verdict: _numbers(verdict, size) is not None))
        rewards: list[list[float | None]] = []
        for verdict, order in zip(self.voters.cast(ballots), orders, strict=True):
            numbers = None if verdict is None else _numbers(verdict, size)
            members: list[float | None] = [None] * size
            for place, number in enumerate(numbers or []):
                members[order[number - 1]] = 1 - place / (size - 1)
            rewards.append(members)
        return [
            _mean([members[member] for members in rewards[start : start + votes]])
            for start in range(0, len(rewards), votes)
            for member in range(size)
        ]


def _numbers(verdict: str, size: int) -> list[int] | None:
    """The order that a verdict spells, None if it is no order of 1 to `size`."""
    numbers = [int(number) for number in verdict.split(">")]
    return numbers if sorted(numbers) == list(range(1, size + 1)) else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
