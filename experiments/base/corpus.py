"""The text that the tiny base is trained on: generated here, nothing downloaded.

Mixed by the numbers in params.yaml: household episodes in small rooms of alfworld_env (won by walking through the room
in its own order, walks that take nothing, and random play), episodes of the expert in small invented shops of
webshop_env, and procedural instruction tasks of reasoning-gym, answered as `<think>…</think><answer>…</answer>`.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import alfworld_env
import webshop_env
from alfworld_env import AlfworldEnv, Game
from encore.errors import UserError
from encore.trajectories import Trajectory
from experiments.base.walker import tour, walk

FIRST_SHOP = 1_000_000  # shops of experiments have seeds below this
GAMES_BLOCK = 500_000
_WANTED = re.compile(
    r"(?:put|find|examine|look at|clean|heat|cool) (?:an? |some |two |the )?(?:clean |hot |cool )?(\w+)"
)  # the class that a task sentence asks for


@dataclass(frozen=True)
class CorpusSettings:
    """The section `base.corpus` of params.yaml: how many episodes of each kind."""

    walks: int = 9_000
    tours: int = 2_000
    random: int = 800
    random_steps: int = 10
    slip_share: float = 0.1  # of the turns: an action that does nothing, and its refusal, neither to be imitated
    slip_again: float = 0.5  # after a slip: another one, half of the time the same
    shop: int = 2_500
    instructions: int = 2_000
    families: list[str] = field(default_factory=lambda: ["chain_sum", "spell_backward", "letter_counting"])
    shop_products: int = 100  # of each shop
    shop_goals: int = 50  # played in each shop

    def __post_init__(self) -> None:
        for name in ("slip_share", "slip_again"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"base.corpus.{name} is {getattr(self, name)}: it is a share, at least 0 and below 1")
        unknown = sorted(set(self.families) - set(_THOUGHTS))
        if unknown:
            raise UserError(f"base.corpus.families names '{unknown[0]}': choose from {', '.join(_THOUGHTS)}")


def household(settings: CorpusSettings, seed: int) -> Iterator[Trajectory]:
    """Episodes in small rooms of the training scenes, all six task types, with slips."""
    generator = random.Random(f"household-{seed}")

    def games(number: int, block: int) -> list[Game]:
        # Each kind of play is in other games.
        return alfworld_env.generate_games(number, seed + block * GAMES_BLOCK, size="small", split="train")

    for game in games(settings.walks, 0):
        yield _play(game, walk(game), "walk", settings, generator)
    for game in games(settings.tours, 1):
        yield _play(game, tour(game, settings.random_steps), "tour", settings, generator)
    for game in games(settings.random, 2):
        yield _play(game, None, "random", settings, generator)


def _play(
    game: Game, plan: list[str] | None, source: str, settings: CorpusSettings, generator: random.Random
) -> Trajectory:
    """One episode by a plan, or at random without one, with slips: actions that do nothing, shown but not learned.

    A policy that has never been refused repeats a mistake for ever. Slips are the mistakes that a beginner makes: to go
    where it is, to take what the task names where it is not, to do what the plan does at another time.
    """
    environment = AlfworldEnv(game)
    observations = [environment.reset()]
    actions: list[str] = []
    slipped: list[int] = []
    won = False
    wanted = _WANTED.search(game.goal_text)
    here = ""
    turn, turns = 0, settings.random_steps if plan is None else len(plan)
    while turn < turns:
        admissible = environment.admissible
        after_slip = bool(slipped) and slipped[-1] == len(actions) - 1
        if generator.random() < (settings.slip_again if after_slip else settings.slip_share):
            mistakes = [f"go to {here}", *(plan or [])]
            if wanted is not None:
                mistakes += [f"take {wanted.group(1)} {number} from {here}" for number in (1, 1, 1, 2)]
            mistakes = [action for action in mistakes if here and action not in admissible]
            if after_slip and generator.random() < 0.5:
                mistakes = [actions[-1]]
        else:
            mistakes = []
        if mistakes:
            action = generator.choice(mistakes)
            slipped.append(len(actions))
        else:
            action = _random_action(environment, generator) if plan is None else plan[turn]
            turn += 1
            if action.startswith("go to "):
                here = action.removeprefix("go to ")
        step = environment.step(action)
        actions.append(action)
        observations.append(step.observation)
        won = won or step.won
    return Trajectory(
        id=game.id,
        environment="alfworld",
        task_type=game.task_type,
        goal=game.goal_text,
        observations=observations,
        actions=actions,
        won=won,
        source=source,
        context_turns=slipped,
    )


def _random_action(environment: AlfworldEnv, generator: random.Random) -> str:
    # The text of `help` is longer than most episodes and says nothing about the game.
    return generator.choice([action for action in environment.admissible if action != "help"])


def shop(settings: CorpusSettings, seed: int) -> Iterator[Trajectory]:
    """Episodes of the shopping expert in small invented shops; their seeds start where no experiment's do."""
    shops = math.ceil(settings.shop / settings.shop_goals)
    for rank in range(shops):
        place = webshop_env.generate_shop(settings.shop_products, seed=FIRST_SHOP + seed * shops + rank, size="small")
        environment = webshop_env.WebShopEnv(place, mode="text")
        for index in range(min(settings.shop_goals, settings.shop - rank * settings.shop_goals, len(place.goals))):
            shown = webshop_env.demonstrate(environment, index, seed=seed)
            yield Trajectory(
                id=f"{place.name}/{index}",
                environment="webshop",
                task_type="webshop",
                goal=place.goals[index].instruction_text,
                observations=list(shown.observations),
                actions=list(shown.actions),
                won=shown.reward == 1.0,
                source="expert",
            )


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
        *household(settings, seed),
        *shop(settings, seed),
        *instructions(settings.instructions, settings.families, seed),
    ]
    random.Random(seed).shuffle(trajectories)
    return trajectories
