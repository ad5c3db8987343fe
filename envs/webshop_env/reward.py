"""The pay of a purchase (web_agent_site/engine/goal.py, get_reward).

    total = type * (attributes met + options met + price met) / (attributes + options + 1)

Quirk of the original, kept under `parity=True`: the options of a synthetic goal are compared as the text of the pair
(name, value), as Python prints it, and a colour word replaces a chosen value but not the pair. So
('color', 'r.brown2070') cannot be met, and a perfect shopper succeeds on 96.0 % of the official test goals.
`parity=False` compares value with value within the group that the goal names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.utils import default_process

from webshop_env.catalogue import Product
from webshop_env.goals import Goal

MATCH = 85  # a token set ratio above this is a match
# The colour words of web_agent_site/engine/normalize.py, in order; the first that is a substring wins.
COLOURS = (
    "alabaster", "apricot", "aqua", "ash", "asphalt", "azure", "banana", "beige", "black", "blue", "blush",
    "bordeaux", "bronze", "brown", "burgundy", "camel", "camo", "caramel", "champagne", "charcoal", "cheetah",
    "chestnut", "chocolate", "christmas", "coffee", "cognac", "copper", "coral", "cranberry", "cream", "crystal",
    "dark", "denim", "eggplant", "elephant", "espresso", "fuchsia", "gold", "granite", "grape", "graphite", "grass",
    "gray", "green", "grey", "heather", "indigo", "ivory", "ivy", "khaki", "lavender", "lemon", "leopard", "light",
    "lilac", "lime", "magenta", "maroon", "mauve", "merlot", "midnight", "mint", "mocha", "multicolor", "mushroom",
    "mustard", "natural", "navy", "nude", "olive", "orange", "peach", "pewter", "pink", "plum", "purple", "rainbow",
    "red", "rose", "royal", "rust", "sand", "sapphire", "seashell", "silver", "skull", "slate", "steel", "stone",
    "stonewash", "sunflower", "tan", "taupe", "teal", "tiger", "turquoise", "violet", "walnut", "wheat", "white",
    "wine", "yellow",
)  # fmt: skip


class Reward(NamedTuple):
    """The pay and its parts, each in [0, 1]; `options` is None where the goal names no options."""

    total: float
    type: float
    attributes: float
    options: float | None
    price: float
    query_match: bool
    category_match: bool
    title_score: float


def reward(
    product: Product,
    goal: Goal,
    price: float,
    options: Mapping[str, str] | Sequence[str],
    parity: bool = True,
) -> Reward:
    """The pay for buying `product` at `price` dollars with the chosen `options` (group -> value)."""
    type_score, query_match, category_match, title_score = _type_score(product, goal)
    attributes_met = sum(_has_attribute(product, attribute) for attribute in goal.attributes)
    options_met = count_options(options, goal.goal_options, parity)
    price_met = price <= goal.price_upper
    wanted = len(goal.attributes) + len(goal.goal_options) + 1
    return Reward(
        total=(attributes_met + options_met + price_met) / wanted * type_score,
        type=type_score,
        attributes=attributes_met / len(goal.attributes) if goal.attributes else 1.0,
        options=options_met / len(goal.goal_options) if goal.goal_options else None,
        price=float(price_met),
        query_match=query_match,
        category_match=category_match,
        title_score=title_score,
    )


def _type_score(product: Product, goal: Goal) -> tuple[float, bool, bool, float]:
    query_match = product.query == goal.query
    category_match = len(_levels(product.product_category) & _levels(goal.product_category)) >= 2
    wanted = goal.nouns
    # The denominator counts repeats, so a product measured against itself may score below 1.
    title_score = len(set(product.nouns) & set(wanted)) / len(wanted) if wanted else 0.2
    score = 1.0 if query_match or category_match or title_score > 0.2 else 0.5
    if title_score < 0.1:
        score = 0.1
    if title_score == 0.0:
        score = 0.0
    return score, query_match, category_match, title_score


@lru_cache(maxsize=4096)
def _levels(product_category: str) -> frozenset[str]:
    return frozenset(level.strip() for level in product_category.split("›"))


def _has_attribute(product: Product, wanted: str) -> bool:
    return (
        any(token_set_ratio(attribute, wanted) > MATCH for attribute in product.attributes)
        or wanted in product.title.lower()
        or wanted in " ".join(product.bullets).lower()
        or wanted in product.description.lower()
    )


def count_options(
    chosen: Mapping[str, str] | Sequence[str], wanted: Mapping[str, str] | Sequence[str], parity: bool = True
) -> int:
    """How many of the wanted options are met by some chosen value."""
    by_group = isinstance(wanted, Mapping) and isinstance(chosen, Mapping)
    values = list(chosen.values()) if isinstance(chosen, Mapping) else list(chosen)
    if not isinstance(wanted, Mapping):
        return sum(_met(values, _colour_in(value)) for value in wanted)
    if parity:
        return sum(_met(values, _pair_text(name, value)) for name, value in wanted.items())
    met = 0
    for name, value in wanted.items():
        candidates = values if not by_group else [c for group, c in chosen.items() if group == name]  # type: ignore[union-attr]
        met += value in candidates or _met(candidates, _colour_in(value))
    return met


def _met(chosen: Iterable[str], wanted: str) -> bool:
    return any(token_set_ratio(_colour_in(value), wanted) > MATCH for value in chosen)


@lru_cache(maxsize=1 << 16)
def _colour_in(value: str) -> str:
    return next((colour for colour in COLOURS if colour in value), value)


@lru_cache(maxsize=1 << 16)
def _pair_text(name: str, value: str) -> str:
    return next((colour for colour in COLOURS if colour in (name, value)), str((name, value)))


@lru_cache(maxsize=1 << 16)
def token_set_ratio(first: str, second: str) -> int:
    """thefuzz 0.22's token_set_ratio, 0 to 100: that of RapidFuzz on processed texts, rounded half to even."""
    first, second = _processed(first), _processed(second)
    return round(fuzz.token_set_ratio(first, second)) if first and second else 0


@lru_cache(maxsize=1 << 16)
def _processed(text: str) -> str:
    return default_process(re.sub("[\x80-\xff]", "", text))
