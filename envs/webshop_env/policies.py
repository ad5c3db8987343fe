"""Shoppers that need no training, and how well they do: rows for every WebShop table.

`heuristic` is the bar for a trained policy: it buys the first hit of the whole instruction after choosing every option
that the instruction names. `oracle` and `expert` know the goal; the expert shops as a person would and makes
demonstrations. Each policy is a function of the present page, so an episode can be handed to it at any moment.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from webshop_env.catalogue import Product
from webshop_env.engine import WebShopEnv
from webshop_env.pages import LINK
from webshop_env.reward import MATCH, reward, token_set_ratio
from webshop_env.shop import Shop
from webshop_env.splits import GoalSplit

MAX_STEPS = 15  # of the random policy in the published rows, and of most papers
Policy = Callable[[WebShopEnv, random.Random], str]  # the next action


def random_policy(env: WebShopEnv, generator: random.Random) -> str:
    """Searches the instruction where there is a search bar, else clicks anything with equal chance."""
    actions = env.available_actions()
    if actions["has_search_bar"]:
        return f"search[{env.instruction}]"
    return f"click[{generator.choice(actions['clickables'])}]"


def first_hit(env: WebShopEnv, generator: random.Random) -> str:
    """Searches the instruction and buys the first hit, without options."""
    if env.asin:
        return "click[buy now]"
    return _open(_hits_shown(env)[:1]) or f"search[{env.instruction}]"


def heuristic(env: WebShopEnv, generator: random.Random) -> str:
    """As `first_hit`, and chooses in every option group the longest value that occurs in the instruction."""
    if env.asin:
        instruction = env.instruction.lower()
        for group, values in env.shop.catalogue[env.asin].options.items():
            named = [value for value in values if value in instruction]
            if named and group not in env.options:
                return f"click[{max(named, key=len)}]"
    return first_hit(env, generator)


def oracle(env: WebShopEnv, generator: random.Random) -> str:
    """Goes straight to the goal's product by its title, chooses the goal's options and buys."""
    return _options_then_buy(env) or _find(env, (_words(env.goal.name),))


def expert(env: WebShopEnv, generator: random.Random) -> str:
    """Searches what the instruction asks for, opens the first product that pays as much as the goal's own, chooses the
    options in random order and buys.

    It pages through the hits; if none of them is good enough it searches the title of the goal's product, and if that
    fails too it buys the best of the last page.
    """
    queries = (shopping_query(env), _words(env.goal.name))
    return _options_then_buy(env, generator) or _find(env, queries, full_pay=_worth(env, env.goal.asin))


POLICIES: dict[str, Policy] = {
    "random": random_policy,
    "first_hit": first_hit,
    "heuristic": heuristic,
    "oracle": oracle,
    "expert": expert,
}


def shopping_query(env: WebShopEnv) -> str:
    """The words a person would search: the instruction without its opening, its options and its price."""
    text = env.instruction.split(", and price lower than")[0]
    if isinstance(env.goal.goal_options, dict):
        options = ", and ".join(f"{name}: {value}" for name, value in env.goal.goal_options.items())
        text = text.removesuffix(f" with {options}")
    text = re.sub(
        r"^(find me|find|i need|i want|i am looking for|i'm looking for)\b", "", text.strip(), flags=re.IGNORECASE
    )
    return _words(text) or _words(env.instruction)


def _words(text: str) -> str:
    """A query that survives the action syntax: one line, no brackets, single blanks."""
    return " ".join(re.sub(r"[\[\]]", " ", text).lower().split()) or "product"


def _hits_shown(env: WebShopEnv) -> list[str]:
    return [node.text for node in env.page_targets.values() if node.kind == LINK]


def _open(asins: list[str]) -> str:
    return f"click[{asins[0].lower()}]" if asins else ""


def _find(env: WebShopEnv, queries: tuple[str, ...], full_pay: float = math.inf) -> str:
    """Searches the queries one after the other, page by page, until a product that will do can be clicked."""
    shown = _hits_shown(env)
    for asin in shown:
        if asin == env.goal.asin or (full_pay < math.inf and _worth(env, asin) >= full_pay):
            return _open([asin])
    query = " ".join(env.keywords)
    if query not in queries:
        return f"search[{queries[0]}]"
    if env.page * env.shop.page_size < env.total_hits:
        return "click[next >]"
    later = queries[queries.index(query) + 1 :]
    if later:
        return f"search[{later[0]}]"
    return _open(sorted(shown, key=lambda asin: -_worth(env, asin))[:1]) or f"search[{_words(env.instruction)}]"


def _worth(env: WebShopEnv, asin: str) -> float:
    """What the product pays with the options that an informed shopper chooses on its page."""
    product = env.shop.catalogue[asin]
    wanted = set(_wanted_values(env, product))
    chosen = {group: value for group, values in product.options.items() for value in values if value in wanted}
    return reward(product, env.goal, env.shop.price(asin), chosen, env.parity).total


def _wanted_values(env: WebShopEnv, product: Product) -> list[str]:
    """The option values of a product that the goal asks for; for human goals, the value most like each wanted one."""
    wanted = env.goal.goal_options
    if isinstance(wanted, dict):
        return [value for group, value in wanted.items() if value in product.options.get(group, ())]
    offered = [value for values in product.options.values() for value in values]
    best = [max(offered, key=lambda value: token_set_ratio(value, want), default="") for want in wanted]
    return [value for value, want in zip(best, wanted, strict=True) if token_set_ratio(value, want) > MATCH]


def _options_then_buy(env: WebShopEnv, generator: random.Random | None = None) -> str:
    """On a product's page: the next wanted option that can be clicked, then "buy now"; elsewhere nothing."""
    if not env.asin:
        return ""
    values = _wanted_values(env, env.shop.catalogue[env.asin])
    # A value of two groups is one button, which belongs to the last: two wanted values may compete for one group.
    missing = [value for value in values if value in env.page_targets and value not in env.options.values()]
    missing = [value for value in missing if env.options.get(env.page_targets[value].text) not in values]
    if not missing:
        return "click[buy now]"
    return f"click[{generator.choice(missing) if generator else missing[0]}]"


@dataclass(frozen=True)
class Demonstration:
    """One episode of an expert: `observations[i]` is what it saw before `actions[i]`."""

    goal_index: int
    observations: tuple[str, ...]
    actions: tuple[str, ...]
    reward: float


@dataclass(frozen=True)
class Evaluation:
    """score = 100 * mean reward, success = percent paid in full; `goals` names the split they hold for."""

    policy: str
    goals: str
    episodes: int
    score: float
    success: float
    mean_steps: float


def demonstrate(
    env: WebShopEnv, goal_index: int, seed: int = 0, policy: Policy = expert, max_steps: int = 40
) -> Demonstration:
    """Plays one episode, to the purchase or to `max_steps`; an episode without purchase has reward 0."""
    generator = random.Random(f"{seed} {goal_index}")
    observation = env.reset(goal_index)
    observations, actions = [], []
    for _ in range(max_steps):
        observations.append(observation)
        actions.append(policy(env, generator))
        step = env.step(actions[-1])
        if step.done:
            return Demonstration(goal_index, tuple(observations), tuple(actions), step.reward)
        observation = step.observation
    return Demonstration(goal_index, tuple(observations), tuple(actions), 0.0)


def expert_actions(shop: Shop, goal_index: int, seed: int = 0) -> list[str]:
    """The expert's actions for one goal."""
    return list(demonstrate(WebShopEnv(shop), goal_index, seed).actions)


def evaluate(
    shop: Shop,
    policy: str,
    goals: GoalSplit | Iterable[int],
    seed: int = 0,
    max_steps: int = MAX_STEPS,
    parity: bool = True,
) -> Evaluation:
    """Scores a named policy on the goals of a split (or on indices). One generator serves all episodes in order."""
    label = goals.label if isinstance(goals, GoalSplit) else "goals given by index"
    indices = goals.indices if isinstance(goals, GoalSplit) else tuple(goals)
    env, generator, act = WebShopEnv(shop, parity=parity), random.Random(seed), POLICIES[policy]
    rewards, steps = [], 0
    for index in indices:
        env.reset(index)
        paid = 0.0
        for _ in range(max_steps):
            steps += 1
            step = env.step(act(env, generator))
            if step.done:
                paid = step.reward
                break
        rewards.append(paid)
    count = max(len(indices), 1)
    return Evaluation(
        policy, label, len(indices), 100 * sum(rewards) / count, 100 * rewards.count(1.0) / count, steps / count
    )
