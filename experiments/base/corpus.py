"""The text that the tiny base is trained on: generated here, nothing downloaded.

Three kinds, mixed by the numbers in params.yaml: household episodes (small rooms of alfworld_env, played by the
searching expert or at random), and procedural instruction tasks of reasoning-gym, answered in the form
`<think>…</think><answer>…</answer>`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import alfworld_env
from alfworld_env import AlfworldEnv
from encore.errors import UserError
from encore.trajectories import Trajectory


@dataclass(frozen=True)
class CorpusSettings:
    """The section `base.corpus` of params.yaml: how many episodes of each kind."""

    household: int = 16_000
    random_share: float = 0.3  # of the household episodes, played at random: grammar and consequences, no aim
    instructions: int = 3_000
    families: list[str] = field(default_factory=lambda: ["chain_sum", "spell_backward", "letter_counting"])
    random_steps: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.random_share <= 1:
            raise UserError(f"base.corpus.random_share is {self.random_share}: it is a share between 0 and 1")
        unknown = sorted(set(self.families) - set(_THOUGHTS))
        if unknown:
            raise UserError(f"base.corpus.families names '{unknown[0]}': choose from {', '.join(_THOUGHTS)}")


def household(number: int, random_share: float, random_steps: int, seed: int) -> Iterator[Trajectory]:
    """Episodes in small rooms of the training scenes: the handcoded expert's, and a share of random ones."""
    generator = random.Random(f"household-{seed}")
    for game in alfworld_env.generate_games(number, seed=seed, size="small", split="train"):
        environment = AlfworldEnv(game)
        observations = [environment.reset()]
        actions: list[str] = []
        won = False
        plays_at_random = generator.random() < random_share
        plan = [] if plays_at_random else alfworld_env.expert_actions(game, expert="handcoded", seed=seed)
        for turn in range(random_steps if plays_at_random else len(plan)):
            action = _random_action(environment, generator) if plays_at_random else plan[turn]
            step = environment.step(action)
            actions.append(action)
            observations.append(step.observation)
            won = won or step.won
        yield Trajectory(
            id=game.id,
            environment="alfworld",
            task_type=game.task_type,
            goal=game.goal_text,
            observations=observations,
            actions=actions,
            won=won,
            source="random" if plays_at_random else "handcoded",
        )


def _random_action(environment: AlfworldEnv, generator: random.Random) -> str:
    # The text of `help` is longer than most episodes and says nothing about the game.
    return generator.choice([action for action in environment.admissible if action != "help"])


def instructions(number: int, families: list[str], seed: int) -> Iterator[Trajectory]:
    """Single-turn tasks of reasoning-gym, each with a short procedural thought before its answer."""
    import reasoning_gym

    for rank, family in enumerate(families):
        count = number // len(families) + (rank < number % len(families))
        settings = _SIZES.get(family, {})
        for item in reasoning_gym.create_dataset(family, size=count, seed=seed, **settings):
            thought = _THOUGHTS[family](item["question"])
            yield Trajectory(
                id=f"{family}-{item['metadata']['source_index']}",
                environment="instructions",
                task_type=family,
                goal=family,
                observations=[item["question"]],
                actions=[f"<think>{thought}</think><answer>{item['answer']}</answer>"],
                won=True,
                source="procedural",
            )


def _running_total(question: str) -> str:
    expression = re.search(r"-?\d+(?: [+-] \d+)+", question)
    if expression is None:
        raise ValueError(f"chain_sum: no sum in {question!r}")
    first, *rest = re.split(r" (?=[+-] )", expression.group())
    total, lines = int(first), []
    for term in rest:
        sign, value = term.split()
        after = total + int(value) if sign == "+" else total - int(value)
        lines.append(f"{total} {sign} {value} = {after}.")
        total = after
    return " ".join(lines)


def _letters(question: str) -> str:
    word = question.rsplit(":", 1)[1].strip()
    return " ".join(word) + " -> " + " ".join(reversed(word))


def _counts(question: str) -> str:
    letter, text = re.findall(r'"(.*?)"', question)[:2]
    words = [f"{word} {word.lower().count(letter)}" for word in text.split() if letter in word.lower()]
    return ", ".join(words) + "." if words else "none."


_THOUGHTS = {"chain_sum": _running_total, "spell_backward": _letters, "letter_counting": _counts}
_SIZES = {
    "chain_sum": {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2},
    "letter_counting": {"min_words": 3, "max_words": 8},
    "spell_backward": {"min_word_len": 3, "max_word_len": 7},
}


def corpus(settings: CorpusSettings, seed: int) -> list[Trajectory]:
    """The whole corpus in a seeded order."""
    trajectories = [
        *household(settings.household, settings.random_share, settings.random_steps, seed),
        *instructions(settings.instructions, settings.families, seed),
    ]
    random.Random(seed).shuffle(trajectories)
    return trajectories
