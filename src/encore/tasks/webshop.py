"""WebShop as stages see it: generated shops or the official one, goals to train on, panels, and the shopping expert.

Panels: `test`, held-out goals whose products training goals may ask for; `unseen`, goals for products that no training
goal asks for; `dev`, held-out goals to choose settings by. No training goal has the text of a goal of a panel of its
shop, which without this care happens: two products may fit one instruction.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from functools import cached_property
from itertools import zip_longest
from typing import Literal, NamedTuple, get_args

from encore import configuration
from encore.environments import register
from encore.errors import UserError
from webshop_env import Shop, ShopDataError, Step, WebShopEnv, demonstrate, generate_shop, load_shop, split_goals
from webshop_env.engine import parse_action

Panel = Literal["test", "unseen", "dev"]
PANELS = get_args(Panel)
TEST_SHARE, DEV_SHARE = 0.2, 0.1  # of a generated shop's goals


@dataclasses.dataclass(frozen=True)
class WebshopSettings:
    """The section `webshop` of params.yaml.

    `n_shops`, `n_products` (of each), `size` and `seed` (of the first; the others follow it) are of generated shops.
    Many small shops ask a policy to read pages, one large shop also to remember products. `goals`: which instructions.
    """

    shop: Literal["generated", "official"] = "generated"  # official: the download under `path` or $WEBSHOP_DATA
    path: str | None = None
    n_shops: int = 1
    n_products: int = 400
    size: Literal["small", "full"] = "small"
    goals: Literal["synthetic", "human"] = "synthetic"
    mode: Literal["text", "text_rich", "url"] = "text"
    price_seed: int = 0
    max_steps: int = 15
    demonstrations: int = 200
    panels: dict[str, int] = dataclasses.field(default_factory=lambda: {"test": 140, "unseen": 140})
    seed: int = 0

    def __post_init__(self) -> None:
        for name, number in [("seed", self.seed), ("price_seed", self.price_seed)]:
            if number < 0:
                raise UserError(f"webshop.{name} is {number}: seeds are whole numbers from 0")
        for name in ("n_shops", "n_products", "max_steps", "demonstrations"):
            if getattr(self, name) < 1:
                raise UserError(f"webshop.{name} is {getattr(self, name)}: it must be at least 1")
        unknown = sorted(set(self.panels) - set(PANELS))
        if unknown:
            raise UserError(f"webshop.panels names '{unknown[0]}': choose from {', '.join(PANELS)}")


class Admissible(list[str]):
    """What a page offers, sorted; where it has a search bar, every search is in it, though one entry stands for all.

    `action in admissible` reads an action as the engine does, which ignores case and what follows the last bracket.
    """

    def __init__(self, actions: Sequence[str], has_search_bar: bool) -> None:
        super().__init__(actions)
        self.has_search_bar = has_search_bar

    def __contains__(self, action: object) -> bool:
        parsed = parse_action(action) if isinstance(action, str) else None
        if parsed is None:
            return False
        name, argument = parsed
        if name == "search":
            return self.has_search_bar
        return name == "click" and super().__contains__(f"click[{argument.lower()}]")


class WebshopEpisode:
    """One goal as an `encore.environments.TextEnv`; the reward comes with the purchase, which ends the episode."""

    def __init__(self, shop: Shop, goal_index: int, mode: Literal["text", "text_rich", "url"]) -> None:
        self._shopper = WebShopEnv(shop, mode, goal_index)

    def reset(self) -> str:
        return self._shopper.reset()

    def step(self, action: str) -> Step:
        return self._shopper.step(action)

    @property
    def admissible(self) -> Admissible:
        # A search works on every page of the engine, but only one page offers it.
        return Admissible(self._shopper.admissible, bool(self._shopper.available_actions()["has_search_bar"]))

    @property
    def anchor(self) -> str:
        """What decides what a purchase would pay: the page, and the chosen options, which mode `text` does not show.

        The way here is left out, so that shoppers who meet on a product's page are in one state whatever they searched.
        """
        return f"{self._shopper.render('text')} {json.dumps(self._shopper.options, sort_keys=True)}"


class WebshopTask(NamedTuple):
    """Which goal of which shop."""

    shop: int
    goal: int


class WebshopTasks:
    """Implements `encore.environments.Tasks`; shops are made, or loaded, when they are first needed."""

    def __init__(self, settings: WebshopSettings) -> None:
        self.settings = settings

    @cached_property
    def shops(self) -> list[Shop]:
        """The shops. Raises UserError if files are missing or damaged."""
        settings = self.settings
        if settings.shop == "generated":
            seeds = range(settings.seed, settings.seed + settings.n_shops)
            return [
                generate_shop(settings.n_products, seed, settings.size, settings.goals, settings.price_seed)
                for seed in seeds
            ]
        try:
            return [load_shop(settings.path, settings.goals, settings.price_seed)]
        except ShopDataError as error:
            raise UserError(f"webshop.shop=official: {error}") from error

    def demonstrations(self, number: int, seed: int) -> Sequence[WebshopTask]:
        """As the protocol says. Raises UserError if the shops have fewer training goals."""
        order = list(self._parts["train"])
        if number > len(order):
            raise UserError(
                f"{number} training tasks of webshop were asked for, there are {len(order)}: lower "
                "webshop.demonstrations or, of generated shops, raise webshop.n_shops or webshop.n_products"
            )
        random.Random(seed).shuffle(order)
        return order[:number]

    def panel(self, name: str, number: int) -> Sequence[WebshopTask]:
        return self._parts[name][:number]  # in shuffled order already, the shops in turn

    def environment(self, task: WebshopTask) -> WebshopEpisode:
        try:
            return WebshopEpisode(self.shops[task.shop], task.goal, self.settings.mode)
        except ShopDataError as error:
            raise UserError(f"webshop: {error}") from error

    def expert(self, task: WebshopTask, seed: int) -> list[str]:
        shop = self.shops[task.shop]
        shown = demonstrate(WebShopEnv(shop), task.goal, seed, max_steps=self.settings.max_steps)
        if shown.reward < 1.0:
            raise ValueError(f"the expert is paid {shown.reward:.2f} for goal {task.goal} of {shop!r}")
        return list(shown.actions)

    def describe(self, task: WebshopTask) -> dict[str, str]:
        shop = self.shops[task.shop]
        goal = shop.goals[task.goal]
        return {"id": f"{shop.name}/{task.goal}", "task_type": goal.category, "goal": goal.instruction_text}

    @cached_property
    def _parts(self) -> dict[str, list[WebshopTask]]:
        """The tasks of each panel and of `train`, in shuffled order."""
        parts: dict[str, list[WebshopTask]] = {}
        for part in (*PANELS, "train"):
            by_shop = [
                [WebshopTask(shop, goal) for goal in self._splits[shop][part]] for shop in range(len(self.shops))
            ]
            parts[part] = [task for tasks in zip_longest(*by_shop) for task in tasks if task is not None]
            if not parts[part]:
                raise UserError(f"webshop has no goals for '{part}': raise webshop.n_shops or webshop.n_products")
        return parts

    @cached_property
    def _splits(self) -> list[dict[str, list[int]]]:
        try:
            return [_split(shop, self.settings.shop == "official") for shop in self.shops]
        except ShopDataError as error:
            raise UserError(f"webshop.goals={self.settings.goals}: {error}") from error


def _split(shop: Shop, official: bool) -> dict[str, list[int]]:
    """Goal indices of each panel and of `train`, in the shop's order, which is a shuffled one."""
    goals = shop.goals
    unseen = split_goals(goals, "product_disjoint", "test").indices
    rest = sorted(set(range(len(goals))) - set(unseen))
    if official:
        # The published split. `test` is all of it, so that numbers compare: `unseen` may share goals with it.
        test = split_goals(goals, "official", "test").indices
        taken = {part: set(split_goals(goals, "official", part).indices) for part in ("dev", "train")}
        dev, train = ([goal for goal in rest if goal in taken[part]] for part in ("dev", "train"))
    else:
        first, second = round(TEST_SHARE * len(goals)), round((TEST_SHARE + DEV_SHARE) * len(goals))
        test, dev, train = tuple(rest[:first]), rest[first:second], rest[second:]
    asked = {goals[goal].instruction_text for goal in (*unseen, *test, *dev)}
    train = [goal for goal in train if goals[goal].instruction_text not in asked]
    return {"test": list(test), "unseen": list(unseen), "dev": dev, "train": train}


@register("webshop")
def load(settings: dict) -> WebshopTasks:
    """WebShop's tasks from the section `webshop` of params.yaml. Raises UserError for a key or value that is none."""
    return WebshopTasks(configuration.build(WebshopSettings, settings, "webshop"))
