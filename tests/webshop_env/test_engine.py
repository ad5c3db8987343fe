"""The state machine: properties for any action, and the rules that a generated shop can show."""

from __future__ import annotations

import pickle
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webshop_env import Catalogue, Product, Shop, ShopDataError, WebShopEnv, demonstrate, generate_shop
from webshop_env.engine import parse_action
from webshop_env.nouns import TitleNouns

SHOP = generate_shop(60, seed=5)
NOISE = st.text(max_size=30)


@st.composite
def actions(draw: st.DrawFn) -> str:
    """Possible, nearly possible and impossible actions."""
    argument = draw(
        st.one_of(
            NOISE,
            st.sampled_from(["lamp", "<r>", "<c>", "<q> lamps", "<a>", "search_results", "item_page", '"red"', "done"]),
            st.sampled_from(["buy now", "back to search", "< prev", "next >", "Description", "features", "attributes"]),
            st.integers(0, 40).map(lambda number: f"#{number}"),
        )
    )
    shape = draw(st.sampled_from(["search[{}]", "click[{}]", "click[{}] and more", "CLICK[{}]", "{}", "think[{}]"]))
    return shape.format(argument)


def play(env: WebShopEnv, action: str) -> float:
    """Takes an action; "#n" stands for the n-th thing that can be clicked."""
    names = list(env.page_targets)
    number = re.search(r"#(\d+)", action)
    if number and names:
        action = action.replace(number[0], names[int(number[1]) % len(names)])
    return env.step(action).reward


@settings(max_examples=150, deadline=None)
@given(st.lists(actions(), max_size=25), st.booleans(), st.booleans())
def test_no_action_raises_and_every_reward_is_a_share(taken: list[str], backdoors: bool, show_attrs: bool) -> None:
    env = WebShopEnv(SHOP, "text_rich", backdoors=backdoors, show_attrs=show_attrs, num_prev_obs=1, num_prev_actions=2)
    env.reset(7)
    for action in taken:
        assert 0.0 <= play(env, action) <= 1.0
        for mode in ("text", "text_rich", "url"):
            assert isinstance(env.render(mode), str)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(st.lists(actions(), max_size=25))
def test_back_to_search_is_the_state_before_the_search(taken: list[str]) -> None:
    env = WebShopEnv(SHOP, "text_rich")
    before = (env.reset(3), env.url, env.available_actions())
    for action in [*taken, "search[lamp]", "click[back to search]"]:
        play(env, action)
    assert (env.observation, env.url, env.available_actions()) == before
    assert (env.keywords, env.page, env.asin, env.options, env.visited) == ([], 0, "", {}, set())


@given(st.text(alphabet="ab[]\n ", max_size=12))
def test_actions_are_parsed_as_the_pattern_of_the_original(action: str) -> None:
    found = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == (found.groups() if found else None)


@settings(max_examples=50, deadline=None)
@given(st.lists(actions(), max_size=15))
def test_an_action_that_is_not_admissible_changes_nothing(taken: list[str]) -> None:
    env = WebShopEnv(SHOP)
    env.reset(1)
    for action in taken:
        before, possible = (env.url, env.render("text_rich"), env.available_actions()), env.is_admissible(action)
        step = env.step(action)
        if not possible:
            assert (env.url, env.render("text_rich"), env.available_actions()) == before
            assert (step.reward, step.done) == (0.0, False)


def test_admissible_actions_are_sorted_and_have_an_effect() -> None:
    env = WebShopEnv(SHOP)
    env.reset(0)
    assert env.admissible == ["search[<keywords>]"]
    env.step("search[lamp]")
    assert env.admissible == sorted(env.admissible) and all(map(env.is_admissible, env.admissible))


def test_an_episode_step_by_step() -> None:
    env = WebShopEnv(SHOP, goal_index=2)
    first = env.reset()
    assert env.instruction in first and env.reset() == first
    demonstration = demonstrate(env, 2)
    assert demonstration.reward == 1.0
    env.reset()
    steps = [env.step(action) for action in demonstration.actions]
    assert [step.won for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1].score == steps[-1].reward == 1.0 and steps[-1].done
    assert env.last_reward is not None and env.last_reward.total == 1.0
    assert env.available_actions() == {"has_search_bar": False, "clickables": []}
    assert env.step("click[buy now]").reward == 0.0  # nothing can be clicked after the purchase


def test_backdoors_are_closed_unless_opened(shop: Shop) -> None:
    category = shop.catalogue[0].category
    for query in (f"<c> {category}", "<r>"):
        closed, opened = WebShopEnv(shop), WebShopEnv(shop, backdoors=True)
        closed.step(f"search[{query}]")
        opened.step(f"search[{query}]")
        assert closed.total_hits == len(shop.search.top(query))
        expected = len(shop.catalogue.by_category[category]) if "<c>" in query else 50
        assert opened.total_hits == expected
    crash = WebShopEnv(shop, backdoors=True)
    for query in ("<c>", "<a> soft", "<q> no such class"):
        crash.step(f"search[{query}]")
        assert crash.total_hits == 0


def test_a_catalogue_is_text_and_never_markup() -> None:
    title = "<b>{{ 7*7 }}</b> &amp; ${HOME} %s {title} lamp"
    product = Product(
        asin="B1",
        title=title,
        description="<script>alert(1)</script>",
        bullets=("{0}",),
        pricing=(5.0,),
        options={"color": ("<red>", "__class__")},
        category="garden",
        query="lamps",
        product_category="Home › Lighting",
        attributes=("bright",),
        instruction="Find me <i>bright</i> lamps",
        instruction_attributes=("bright",),
        noun_table=TitleNouns({title: ["lamp"]}),
    )
    env = WebShopEnv(Shop(Catalogue([product], nouns=product.noun_table)), "text_rich")
    assert "<i>bright</i>" in env.reset(0)
    env.step("search[lamp]")
    assert title in env.step("click[b1]").observation
    env.step("click[<red>]")
    assert "[clicked button] <red> [clicked button_]" in env.observation
    env.step("click[description]")
    assert "<script>alert(1)</script>" in env.observation


def test_visited_products_and_chosen_options_are_marked() -> None:
    env = WebShopEnv(SHOP, "text_rich", goal_index=0)
    env.reset()
    env.step(f"search[{env.instruction}]")
    asin = next(name for name in env.page_targets if name.upper() in SHOP.catalogue)
    env.step(f"click[{asin}]")
    env.step("click[< prev]")
    assert f"[clicked button] {asin.upper()} [clicked button_]" in env.observation


def test_sessions_keep_their_goals_and_random_resets_are_reproducible() -> None:
    first, second = WebShopEnv(SHOP), WebShopEnv(SHOP)
    drawn = [(first.reset(), first.session) for _ in range(20)]
    assert drawn == [(second.reset(), second.session) for _ in range(20)]
    assert len({page for page, _ in drawn}) > 5
    again = first.session
    page = first.observation
    first.reset(0)
    assert first.reset(again) == page


def test_shops_and_shoppers_can_be_sent_to_other_processes() -> None:
    env = WebShopEnv(SHOP, goal_index=4)
    env.step(f"search[{env.instruction}]")
    copy = pickle.loads(pickle.dumps(env))
    assert copy.observation == env.observation
    assert copy.step("click[next >]") == env.step("click[next >]")
    assert copy.reset() == env.reset()


def test_history_is_joined_oldest_first() -> None:
    env = WebShopEnv(SHOP, num_prev_obs=1, num_prev_actions=1)
    page = env.reset(0)
    assert env.step("search[lamp]").observation == " [SEP] ".join([page, "search[lamp]", env.observation])


def test_hundreds_of_sessions_leave_nothing_behind() -> None:
    env = WebShopEnv(SHOP)
    generator = random.Random(0)
    for _ in range(10_050):
        env.reset(f"session {generator.random()}")
    assert len(env._sessions) == 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mode": "html"}, "no observation mode 'html'"), ({"goal_index": 10**6}, "numbered from 0")],
)
def test_errors_are_one_line_and_name_the_remedy(arguments: dict, message: str) -> None:
    with pytest.raises(ShopDataError, match=message) as raised:
        WebShopEnv(SHOP, **arguments)
    assert "\n" not in str(raised.value)
