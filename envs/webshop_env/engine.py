"""The text environment: the state machine of web_agent_site/envs/web_agent_text_env.py, without server and HTML."""

from __future__ import annotations

import json
import random
import string
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from webshop_env import pages
from webshop_env.goals import Goal
from webshop_env.nouns import can_tag
from webshop_env.pages import Block, Node, Page
from webshop_env.records import ShopDataError
from webshop_env.reward import Reward, reward
from webshop_env.shop import Shop

BASE_URL = "http://127.0.0.1:3000"
HITS = 50
PAGE_NAMES = ("search_results", "item_page", "item_sub_page", "done")
REMEMBERED_SESSIONS = 10_000

Mode = Literal["text", "text_rich", "url"]


class Step(NamedTuple):
    """What an action led to. `reward` is the pay, not 0 only on a purchase; `won`: paid in full."""

    observation: str
    reward: float
    done: bool
    won: bool

    @property
    def score(self) -> float:
        """WebShop's score of the step, in [0, 1]: the reward."""
        return self.reward


def parse_action(action: str) -> tuple[str, str] | None:
    """Name and argument of an action "name[argument]", or None.

    As `re.match(r"(.+)\\[(.+)\\]")` finds them: the first line only, up to the last "]", from the last "[" that leaves
    an argument; but in linear time.
    """
    line = action.split("\n", 1)[0]
    end = line.rfind("]")
    start = line.rfind("[", 1, max(end - 1, 0))
    return (line[:start], line[start + 1 : end]) if start > 0 else None


class WebShopEnv:
    """One shopper. `reset` starts an episode, `step` takes "search[words]" or "click[text of a button]".

    mode: the observation; `text` joins the page by " [SEP] ", `text_rich` marks buttons, `url` is the address only.
    goal_index: the goal that a plain `reset()` plays (None: a random one, drawn as the original draws).
    parity: True pays as the original, quirk included; False compares options value by value (see reward.py).
    backdoors: True gives the search words <r>, <c>, <q> their hidden meaning; otherwise they are ordinary text.
    show_attrs, num_prev_obs, num_prev_actions, session_prefix: as in the original.

    There is no step limit, and an action that is not possible changes nothing. Raises ShopDataError for an unknown
    mode, and where purchases could not be paid because noun sets are missing.
    """

    _page: Page

    def __init__(
        self,
        shop: Shop,
        mode: Mode = "text",
        goal_index: int | None = None,
        parity: bool = True,
        backdoors: bool = False,
        show_attrs: bool = False,
        num_prev_obs: int = 0,
        num_prev_actions: int = 0,
        session_prefix: str = "",
    ) -> None:
        if mode not in ("text", "text_rich", "url"):
            raise ShopDataError(f"no observation mode '{mode}': take text, text_rich or url")
        if not len(shop.goals):
            raise ShopDataError(f"{shop.name} has no goals: its attribute file holds no instructions")
        if shop.goals[0].name not in shop.catalogue.nouns and not can_tag():
            raise ShopDataError(
                "noun sets of this catalogue are missing: pip install 'encore[webshop]' builds them at the next load"
            )
        self.shop, self.mode, self.goal_index = shop, mode, goal_index
        self.parity, self.backdoors, self.show_attrs = parity, backdoors, show_attrs
        self._history = (num_prev_obs, num_prev_actions)
        self._prefix = session_prefix
        self._random = random.Random()
        self._random.setstate(shop.goals.state_after_shuffle)
        self._sessions: OrderedDict[str, int] = OrderedDict()
        self.reset()  # the original's constructor resets once, and its draws are part of the official sequence

    # --- episode -----------------------------------------------------------------------------------------------------

    def reset(self, goal: int | str | None = None) -> str:
        """Starts an episode and returns the search page.

        goal: a goal index; or a session name, which gets a random goal that it keeps; or None: the bound `goal_index`,
        else a random goal. Raises ShopDataError for an index outside the goals.
        """
        if goal is None:
            goal = self.goal_index
        name = "".join(self._random.choices(string.ascii_lowercase, k=10)) if goal is None else str(goal)
        self.session = self._prefix + name
        self.current_goal = self._goal_of_session(self.session, goal)
        self.goal: Goal = self.shop.goals[self.current_goal]
        self.last_reward: Reward | None = None
        self._previous_actions: list[str] = []
        self._to_index()
        observation = self.observation
        self._previous_observations = [observation]
        return observation

    def _goal_of_session(self, name: str, goal: int | str | None) -> int:
        known = self._sessions.get(name)
        if known is None:
            count = len(self.shop.goals)
            if isinstance(goal, int) and not -count <= goal < count:
                raise ShopDataError(f"no goal {goal}: {self.shop.name} has {count}, numbered from 0")
            known = goal % count if isinstance(goal, int) else self.shop.goals.draw(self._random)
            self._sessions[name] = known
            # Names are remembered, as in the original, but not without end.
            if len(self._sessions) > REMEMBERED_SESSIONS:
                self._sessions.popitem(last=False)
        return known

    def step(self, action: str) -> Step:
        """Takes an action; one that is not possible on this page changes nothing and pays 0."""
        paid, done = self._act(action)
        observation = page_text = self.observation
        keep = max(self._history)
        if keep:
            self._previous_actions = [*self._previous_actions, action][-keep:]
            observation = self._with_history(page_text)
            self._previous_observations = [*self._previous_observations, page_text][-keep:]
        return Step(observation, paid, done, done and paid == 1.0)

    def _with_history(self, page_text: str) -> str:
        parts = [page_text]
        observations, actions = self._history
        for i in range(1, 1 + max(self._history)):
            if i <= min(actions, len(self._previous_actions)):
                parts.append(self._previous_actions[-i])
            if i <= min(observations, len(self._previous_observations)):
                parts.append(self._previous_observations[-i])
        return pages.SEPARATOR.join(reversed(parts))

    # --- what the shopper sees ---------------------------------------------------------------------------------------

    @property
    def observation(self) -> str:
        """The present page in the mode of this environment."""
        return self.render(self.mode)

    def render(self, mode: Mode) -> str:
        """The present page in any mode."""
        if mode == "text":
            return self._page.text()
        return self._page.url if mode == "url" else self._page.text_rich(self.visited)

    @property
    def url(self) -> str:
        """The address of the present page."""
        return self._page.url

    @property
    def page_targets(self) -> Mapping[str, Node]:
        """Clickable text -> the button or link it is, or the option group it belongs to, in page order."""
        return self._page.targets

    @property
    def instruction(self) -> str:
        """The text of the task."""
        return self.goal.instruction_text

    def available_actions(self) -> dict[str, Any]:
        """`has_search_bar` and the ordered `clickables`, as the original reports them."""
        return {"has_search_bar": self._page.has_search_bar, "clickables": list(self._page.targets)}

    @property
    def admissible(self) -> list[str]:
        """Actions with an effect, sorted; "search[<keywords>]" stands for any search on the search page."""
        clicks = [f"click[{name}]" for name in self._page.targets if name and name != "search"]
        return sorted([*clicks, "search[<keywords>]"] if self._page.has_search_bar else clicks)

    def is_admissible(self, action: str) -> bool:
        """Whether an action does anything on the present page (a search does on every page)."""
        return self._effective(action) is not None

    # --- state machine -----------------------------------------------------------------------------------------------

    def _effective(self, action: str) -> tuple[str, str] | None:
        """Name and lowered argument of an action that does something here."""
        parsed = parse_action(action)
        if parsed is None:
            return None
        name, argument = parsed[0], parsed[1].lower()
        clickable = name == "click" and argument != "search" and argument in self._page.targets
        return (name, argument) if clickable or name == "search" else None

    def _act(self, action: str) -> tuple[float, bool]:
        effective = self._effective(action)
        if effective is None:
            return 0.0, False
        name, argument = effective
        if name == "search":
            self._to_results(argument.split(" "), 1)
            return 0.0, False
        return self._click(argument)

    def _click(self, name: str) -> tuple[float, bool]:
        if name == pages.BUY.lower():
            return self._buy(), True
        # The original finds out where it is from the first page name that occurs anywhere in the URL, query included.
        here = next((page for page in PAGE_NAMES if page in self._page.url), "")
        if name == pages.BACK.lower():
            self._to_index()
        elif name == pages.NEXT.lower() and here == "search_results":
            self._to_results(self.keywords, self.page + 1)
        elif name == pages.PREVIOUS.lower() and here == "search_results":
            self._to_results(self.keywords, self.page - 1)
        elif name == pages.PREVIOUS.lower() and here == "item_page":
            self._to_results(self.keywords, self.page)
        elif name == pages.PREVIOUS.lower() and here == "item_sub_page":
            self._to_item()
        elif sub_page := next((page for page in pages.SUB_PAGES if page.lower() == name), None):
            self._to_sub_page(sub_page)
        else:
            kind, text = self._page.targets[name]
            if kind == pages.LINK:
                self.asin = text
                self.visited.add(text)
            elif kind == pages.LABEL:
                self.options[text.lower()] = name
            self._to_item()
        return 0.0, False

    def _to_index(self) -> None:
        self.keywords: list[str] = []
        self.page = 0
        self.total_hits = 0
        self.asin = ""
        self.options: dict[str, str] = {}
        self.visited: set[str] = set()
        block = pages.index_block(self.goal.instruction_text)
        self._page = Page(f"{BASE_URL}/{self.session}", [block], block.targets, has_search_bar=True)

    def _to_results(self, keywords: list[str], page: int) -> None:
        self.keywords, self.page, self.asin, self.options = keywords, page, "", {}
        hits = self._hits(keywords)
        self.total_hits = len(hits)
        size = self.shop.page_size
        shown = [self.shop.hit_block(asin) for asin in hits[(page - 1) * size : page * size]]
        url = f"{BASE_URL}/search_results/{self.session}/{'+'.join(keywords)}/{page}"
        self._show(url, pages.results_block(page, len(hits)), *shown)

    def _hits(self, keywords: list[str]) -> list[str]:
        catalogue = self.shop.catalogue
        if self.backdoors:
            if keywords[0] == "<r>":
                return self._random.sample(catalogue.asins, min(HITS, len(catalogue)))
            if keywords[0] == "<c>":  # alone it crashes the original; here it finds nothing
                return catalogue.by_category.get(keywords[1].strip(), []) if len(keywords) > 1 else []
            if keywords[0] == "<q>":
                return catalogue.by_query.get(" ".join(keywords[1:]).strip(), [])
            if keywords[0] == "<a>":  # crashes the original, whatever follows
                return []
        return [asin for asin in self.shop.search.top(" ".join(keywords), HITS) if asin in catalogue]

    def _to_item(self) -> None:
        keywords = "+".join(self.keywords)
        url = f"{BASE_URL}/item_page/{self.session}/{self.asin}/{keywords}/{self.page}/{json.dumps(self.options)}"
        self._show(url, self.shop.item_block(self.asin, self.show_attrs))

    def _to_sub_page(self, name: str) -> None:
        keywords = "+".join(self.keywords)
        url = f"{BASE_URL}/item_sub_page/{self.session}/{self.asin}/{keywords}/{self.page}/{name}/{self.options}"
        self._show(url, pages.sub_page_block(self.shop.catalogue[self.asin], name))

    def _show(self, url: str, *blocks: Block) -> None:
        head = pages.head_block(self.goal.instruction_text)
        targets = head.targets.copy()
        for block in blocks:
            targets.update(block.targets)
        self._page = Page(url, [head, *blocks], targets)

    def _buy(self) -> float:
        product = self.shop.catalogue[self.asin]
        price = self.shop.price(self.asin)
        self.last_reward = reward(product, self.goal, price, self.options, self.parity)
        block = pages.done_block(self.asin, self.options, self.last_reward.total)
        self._page = Page(f"{BASE_URL}/done/{self.session}/{self.asin}/{self.options}", [block], {})
        return self.last_reward.total
