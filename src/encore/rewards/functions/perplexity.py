"""How likely the reference answer is after the response's thought, under a reference model.

NOVER's conditional perplexity (arXiv 2505.16022), for a prompt p, the thought t and the reference answer g in its tags:

    P_r = exp( - sum over i of log pi(g_i | p, t, g_<i) / (|g| N(|t|)) ),    N(|t|) = max(1, 1 + log10 |t|)

with lengths in tokens. It is at least 1, and less is better; the reward is 1 / P_r, between 0 and 1, and 0 for a
response without the form `<think>..</think><answer>..</answer>`. Its order within a group is that of `reasoning_reward`
in NOVER's code (src/reward_functions.py), which ranks P_r and gives invalid responses 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from encore.errors import UserError
from encore.rewards.context import Context, model_of
from encore.rewards.likelihood import longest, of_tokens
from encore.rewards.texts import Parts, parts_of

LAYOUTS = {  # around thought and answer: on one line, or as NOVER's code (src/utils.py) lays them out
    "compact": ("<think>{}</think>", "<answer>{}</answer>"),
    "lines": ("\n<think>\n{}\n</think>\n", "\n<answer>\n{}\n</answer>"),
}


@dataclass(frozen=True)
class Settings:
    """`form`: `nover` as above; `plain` has N = 1. `answer_column` holds the reference answers. `layout` is how a
    response is written out anew, with the reference in the place of its answer. `max_batch_tokens` bounds a forward
    pass, padding included.
    """

    form: Literal["nover", "plain"] = "nover"
    answer_column: str = "answer"
    layout: Literal["compact", "lines"] = "compact"
    max_batch_tokens: int = 8192

    def __post_init__(self) -> None:
        if self.answer_column == "reference":
            raise UserError(
                "rewards.perplexity.answer_column is 'reference', which trainers use for the reference model: rename "
                "the column, for example to 'answer'"
            )
        if self.max_batch_tokens < 1:
            raise UserError(f"rewards.perplexity.max_batch_tokens is {self.max_batch_tokens}: it must be at least 1")


@dataclass(frozen=True)
class Conditional:
    """`perplexity` is P_r; infinite for a response without the form. `thought_tokens` is |t|."""

    perplexity: float
    thought_tokens: int


class Reward:
    name = __name__ = "perplexity"
    label = "Perplexity"

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings, self.context = settings, context

    def skip(self) -> str | None:
        return None if self.context.has_tokens else "needs a tokenizer: give one in its context"

    def __call__(
        self, prompts: list[Any], completions: list[Any], *, reference: Any = None, **columns: Any
    ) -> list[float | None]:
        """1 / P_r; None without a reference answer, or where it does not fit the model's context.

        `reference` is the model of the moment, which goes before the context's.
        """
        found = self.conditional(prompts, completions, reference=reference, **columns)
        return [None if one is None else 1 / one.perplexity for one in found]

    def conditional(
        self, prompts: list[Any], completions: list[Any], *, reference: Any = None, **columns: Any
    ) -> list[Conditional | None]:
        """P_r and |t| of each response; None as above. Raises UserError without a model or answers."""
        answers = self._answers(columns, len(completions))
        source = self.context.reference if reference is None else reference
        if source is None:
            raise UserError("reward perplexity has no reference model: give one in its context, or as `reference`")
        model = model_of(source)
        result: list[Conditional | None] = [None] * len(completions)
        scored: list[tuple[int, tuple[tuple[int, ...], int]]] = []
        thoughts: dict[int, int] = {}
        for place, (prompt, completion, answer) in enumerate(zip(prompts, completions, answers, strict=True)):
            parts = parts_of(completion)
            if not answer or not str(answer).strip():
                continue
            if parts is None:
                result[place] = Conditional(math.inf, 0)
                continue
            tokens, start = self._sequence(prompt, parts, str(answer).strip())
            limit = longest(model)
            if limit is None or len(tokens) <= limit:
                thoughts[place] = len(self.context.content_ids(parts.thought)) if parts.thought else 0
                scored.append((place, (tokens, start)))
        sequences = [sequence for _, sequence in scored]
        found = of_tokens(model, sequences, "log_probs", max_batch_tokens=self.settings.max_batch_tokens)
        for (place, _), log_probs in zip(scored, found, strict=True):
            nats = -float(log_probs.double().mean()) / self._norm(thoughts[place])
            # Past 700 nats a token, exp leaves the numbers; NaN is a broken model and stays one.
            result[place] = Conditional(math.exp(nats) if not nats > 700 else math.inf, thoughts[place])
        return result

    def _answers(self, columns: dict[str, Any], number: int) -> Sequence[Any]:
        name = self.settings.answer_column
        if name not in columns:
            raise UserError(
                f"reward perplexity finds no column '{name}' of reference answers: name it in "
                f"rewards.perplexity.answer_column, from {', '.join(sorted(columns)) or 'none'}"
            )
        answers: Sequence[Any] = columns[name]
        if len(answers) != number:
            raise UserError(f"column '{name}' has {len(answers)} reference answers for {number} responses")
        return answers

    def _sequence(self, prompt: Any, parts: Parts, answer: str) -> tuple[tuple[int, ...], int]:
        """Tokens of prompt, thought and reference answer, and where the answer's tags begin."""
        around_thought, around_answer = LAYOUTS[self.settings.layout]
        given = [
            *self.context.prompt_ids(prompt),
            *self.context.content_ids(around_thought.replace("{}", parts.thought)),
        ]
        return (*given, *self.context.content_ids(around_answer.replace("{}", answer))), len(given)

    def _norm(self, thought_tokens: int) -> float:
        if self.settings.form == "plain" or thought_tokens < 1:
            return 1.0
        return max(1.0, 1.0 + math.log10(thought_tokens))
