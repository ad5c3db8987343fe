"""Shopping goals: what to buy, under which price, in the official order.

Source: web_agent_site/engine/goal.py (get_synthetic_goals, get_human_goals), generate_product_prices and the shuffle in
SimServer. The original draws from the process-wide generator without seeding it before the prices; `price_seed` is that
missing seed. It changes prices and upper prices, never the order of the goals.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import Any, overload

from webshop_env.catalogue import Catalogue, Product
from webshop_env.nouns import TitleNouns

SHUFFLE_SEED = 233
PRICE_LIMITS = tuple(10.0 * step for step in range(1, 100))  # dollars
NO_LIMIT = 1_000_000  # dollars, where the product costs too much for a limit


@dataclass(frozen=True, slots=True)
class Goal:
    """One task. `goal_options`: group -> value (synthetic) or a list of values (human); `price_upper` in dollars."""

    asin: str
    category: str
    query: str
    name: str
    product_category: str
    instruction_text: str
    attributes: list[str]
    goal_options: dict[str, str] | list[str]
    price_upper: float
    weight: float
    noun_table: TitleNouns = field(default_factory=TitleNouns, repr=False, compare=False)

    @property
    def nouns(self) -> tuple[str, ...]:
        """Lowered nouns of the title of the goal's product, in order, with repeats."""
        return self.noun_table(self.name)


def draw_prices(catalogue: Catalogue, generator: random.Random) -> array[float]:
    """The price of every product in dollars, by number: one uniform draw for each that has a range."""
    prices = array("d")
    for product in catalogue:
        low, high = product.pricing[0], product.pricing[-1]
        prices.append(generator.uniform(low, high) if len(product.pricing) > 1 else low)
    return prices


class Goals(Sequence[Goal]):
    """The goals of a catalogue in shuffled order, made when asked for: millions of them cost a few bytes each.

    A source is a product with a synthetic instruction (one goal for each combination of its options) or one human
    instruction (one goal).
    """

    def __init__(
        self,
        catalogue: Catalogue,
        generator: random.Random,
        prices: Sequence[float],
        human: Mapping[str, Any] | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.kind = "synthetic" if human is None else "human"
        self._products = array("q")
        self._uppers = array("d")
        self._instructions: list[dict[str, Any]] = []
        sizes = array("q")
        self._attribute_goals: dict[str, int] = {}
        for number, asin in enumerate(catalogue.asins):
            if human is None:
                product = catalogue.products[number]
                if product.instruction is None:
                    continue
                size = prod(len(values) for values in product.options.values())
                for attribute in product.instruction_attributes:
                    self._attribute_goals[attribute] = self._attribute_goals.get(attribute, 0) + size
                sources = [size]
            else:
                kept = [entry for entry in human.get(asin, ()) if entry["instruction_attributes"]]
                self._instructions += kept
                sources = [1] * len(kept)
            for size in sources:
                self._products.append(number)
                self._uppers.append(_upper_price(prices[number], generator))
                sizes.append(size)
        self._starts = array("q", accumulate(sizes, initial=0))
        order = list(range(self._starts[-1]))
        # The state of this generator after the shuffle is what the original's later resets draw from.
        shuffler = random.Random(SHUFFLE_SEED)
        shuffler.shuffle(order)
        self._order = array("q", order)
        self.state_after_shuffle = shuffler.getstate()

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> list[Goal]: ...
    def __getitem__(self, index: int | slice) -> Goal | list[Goal]:
        if isinstance(index, slice):
            return [self._goal(place) for place in self._order[index]]
        return self._goal(self._order[index])

    def asin(self, index: int) -> str:
        """The goal's product, without making the goal."""
        return self.catalogue.asins[self._products[bisect_right(self._starts, self._order[index]) - 1]]

    def draw(self, generator: random.Random) -> int:
        """A random goal index by weight, as the original draws: goal 0 never, goal k+1 with the weight of goal k."""
        cumulative = self._cumulative_weights
        return min(bisect_right(cumulative, generator.uniform(0, cumulative[-1])), len(self) - 1)

    @cached_property
    def _cumulative_weights(self) -> array[float]:
        weights = (self._weight(bisect_right(self._starts, place) - 1) for place in self._order)
        return array("d", accumulate(weights, initial=0.0))

    def _weight(self, source: int) -> float:
        if self.kind == "human":
            return 1
        attributes = self.catalogue.products[self._products[source]].instruction_attributes
        return sum(1.0 / self._attribute_goals[attribute] for attribute in attributes) / len(attributes)

    def _goal(self, place: int) -> Goal:
        source = bisect_right(self._starts, place) - 1
        product = self.catalogue.products[self._products[source]]
        upper = self._uppers[source]
        price_text = "" if upper == NO_LIMIT else f", and price lower than {upper:.2f} dollars"
        options: dict[str, str] | list[str]
        if self.kind == "human":
            entry = self._instructions[source]
            text = entry["instruction"].strip(".") + price_text
            attributes, options = list(entry["instruction_attributes"]), list(entry["instruction_options"])
        else:
            options = _combination(product, place - self._starts[source])
            chosen = ", and ".join(f"{name}: {value}" for name, value in options.items())
            text = f"{product.instruction}{' with ' + chosen if chosen else ''}{price_text}"
            attributes = list(product.instruction_attributes)
        return Goal(
            asin=product.asin,
            category=product.category,
            query=product.query,
            name=product.title,
            product_category=product.product_category,
            instruction_text=text,
            attributes=attributes,
            goal_options=options,
            price_upper=upper,
            weight=self._weight(source),
            noun_table=product.noun_table,
        )


def _upper_price(price: float, generator: random.Random) -> float:
    candidates = [limit for limit in PRICE_LIMITS if limit > price][:4]
    return max(generator.sample(candidates, 2)) if len(candidates) >= 2 else NO_LIMIT


def _combination(product: Product, number: int) -> dict[str, str]:
    """The number-th element of the Cartesian product of the option values, names sorted, last name fastest."""
    chosen = {}
    for name in sorted(product.options, reverse=True):
        number, place = divmod(number, len(product.options[name]))
        chosen[name] = product.options[name][place]
    return dict(reversed(chosen.items()))
