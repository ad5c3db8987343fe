"""Goals, splits and the reward."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webshop_env import Shop, ShopDataError, generate_shop, reward, split_goals
from webshop_env.reward import COLOURS, count_options, token_set_ratio

SHOP = generate_shop(50, seed=6)
HUMAN = generate_shop(50, seed=6, goals="human")


def test_the_price_seed_changes_prices_and_never_the_order() -> None:
    other = generate_shop(50, seed=6, price_seed=1)
    pairs = list(zip(SHOP.goals, other.goals, strict=True))
    assert all((a.asin, a.goal_options, a.attributes) == (b.asin, b.goal_options, b.attributes) for a, b in pairs)
    assert any(a.price_upper != b.price_upper for a, b in pairs)


def test_goals_cover_every_combination_of_options_once() -> None:
    seen = {(goal.asin, tuple(goal.goal_options.items())) for goal in SHOP.goals}  # type: ignore[union-attr]
    expected = 0
    for product in SHOP.catalogue:
        size = 1
        for values in product.options.values():
            size *= len(values)
        expected += size
    assert len(seen) == expected == len(SHOP.goals)


def test_the_goal_can_be_bought_within_its_price() -> None:
    for goal in SHOP.goals:
        assert SHOP.prices[goal.asin] < goal.price_upper
        assert f"{goal.price_upper:.2f} dollars" in goal.instruction_text or goal.price_upper == 1_000_000


def test_human_goals_hold_lists_and_lose_the_full_stop() -> None:
    assert len(HUMAN.goals) == 50
    for goal in HUMAN.goals:
        assert isinstance(goal.goal_options, list) and goal.weight == 1
        assert "., and price" not in goal.instruction_text


def test_goals_are_a_sequence() -> None:
    assert SHOP.goals[-1] == SHOP.goals[len(SHOP.goals) - 1]
    assert SHOP.goals[2:4] == [SHOP.goals[2], SHOP.goals[3]]
    with pytest.raises(IndexError):
        SHOP.goals[len(SHOP.goals)]


def test_weights_count_how_rare_the_attributes_are() -> None:
    goals = list(SHOP.goals)
    counts: dict[str, int] = {}
    for goal in goals:
        for attribute in goal.attributes:
            counts[attribute] = counts.get(attribute, 0) + 1
    for goal in goals[:50]:
        expected = sum(1 / counts[attribute] for attribute in goal.attributes) / len(goal.attributes)
        assert goal.weight == pytest.approx(expected)


def test_product_disjoint_parts() -> None:
    parts = {part: split_goals(SHOP.goals, "product_disjoint", part) for part in ("test", "dev", "train")}  # type: ignore[arg-type]
    products = {name: {SHOP.goals.asin(index) for index in part.indices} for name, part in parts.items()}
    assert sum(len(part) for part in parts.values()) == len(SHOP.goals)
    assert not products["test"] & products["train"] and not products["dev"] & products["train"]
    assert parts["test"].label == "product_disjoint/test"


def test_official_parts_need_enough_goals() -> None:
    with pytest.raises(ShopDataError, match="take product_disjoint"):
        split_goals(SHOP.goals, "official", "test")
    large = generate_shop(300, seed=0)
    assert split_goals(large.goals, "official", "dev").indices == tuple(range(500, 1500))
    assert split_goals(large.goals, "official", "train").indices[0] == 1500


@given(st.data())
def test_every_part_of_every_reward_is_a_share(data: st.DataObject) -> None:
    shop = data.draw(st.sampled_from([SHOP, HUMAN]))
    goal = shop.goals[data.draw(st.integers(0, len(shop.goals) - 1))]
    product = shop.catalogue[data.draw(st.integers(0, len(shop.catalogue) - 1))]
    options = {group: data.draw(st.sampled_from(values)) for group, values in product.options.items()}
    for parity in (True, False):
        paid = reward(product, goal, data.draw(st.floats(0, 1000)), options, parity)
        shares = (paid.total, paid.type, paid.attributes, paid.price)
        assert all(0.0 <= share <= 1.0 for share in shares)
        assert paid.options is None or 0.0 <= paid.options <= 1.0


def test_the_goal_itself_pays_in_full_and_each_lack_costs_its_share() -> None:
    goal = next(goal for goal in SHOP.goals if len(goal.goal_options) == 2)
    product, price = SHOP.catalogue[goal.asin], SHOP.prices[goal.asin]
    assert isinstance(goal.goal_options, dict)
    assert reward(product, goal, price, goal.goal_options).total == 1.0
    parts = len(goal.attributes) + 3
    assert reward(product, goal, goal.price_upper + 0.01, goal.goal_options).total == (parts - 1) / parts
    assert reward(product, goal, price, {}).total == (parts - 2) / parts
    stranger = dataclasses.replace(goal, attributes=["unheard of", *goal.attributes[1:]])
    assert reward(product, stranger, price, goal.goal_options).total == (parts - 1) / parts


def test_a_product_without_a_common_noun_pays_nothing() -> None:
    goal = SHOP.goals[0]
    other = next(product for product in SHOP.catalogue if not set(product.nouns) & set(goal.nouns))
    assert reward(other, goal, 0.0, {}).total == 0.0


def test_the_quirk_of_option_pairs_and_its_repair() -> None:
    wanted = {"color": "r.brown2070"}
    assert count_options(wanted, wanted) == 0  # the chosen value became "brown", the pair did not
    assert count_options(wanted, wanted, parity=False) == 1
    assert count_options({"color": "dark blue"}, {"color": "blue"}) == 1  # "blue" comes before "dark" in the list
    assert count_options({"size": "large"}, {"fit": "large"}, parity=False) == 0  # the group counts once mended
    assert count_options({"size": "large"}, {"fit": "large"}) == 1
    assert COLOURS.index("blue") < COLOURS.index("dark")


@given(st.text(max_size=20), st.text(max_size=20))
def test_token_set_ratio_is_symmetric_and_bounded(first: str, second: str) -> None:
    assert 0 <= token_set_ratio(first, second) == token_set_ratio(second, first) <= 100


def test_a_shop_knows_what_it_is(shop: Shop) -> None:
    assert "generated-full-120-seed3" in repr(shop) and "price seed 0" in repr(shop)
