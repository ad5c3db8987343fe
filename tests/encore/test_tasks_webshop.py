"""WebShop as stages see it: which goals train and which are held out, and what an episode says of itself."""

from __future__ import annotations

import random

import pytest

from encore import configuration, demonstrations, environments
from encore.errors import UserError
from encore.tasks.webshop import PANELS, WebshopSettings, WebshopTasks
from webshop_env.policies import random_policy

SMALL = WebshopSettings(n_shops=3, n_products=20)
ONE_LARGE = WebshopSettings(n_shops=1, n_products=100, seed=7)


@pytest.fixture(scope="module", params=[SMALL, ONE_LARGE], ids=["small shops", "one shop"])
def tasks(request) -> WebshopTasks:
    return WebshopTasks(request.param)


@pytest.fixture(scope="module")
def small() -> WebshopTasks:
    return WebshopTasks(SMALL)


def everything(tasks: WebshopTasks, panel: str) -> list:
    return list(tasks.panel(panel, 10_000))


def training(tasks: WebshopTasks) -> list:
    with pytest.raises(UserError, match=r"there are (\d+)") as caught:
        tasks.demonstrations(10_000, seed=0)
    count = int(str(caught.value).split("there are ")[1].split(":")[0])
    return list(tasks.demonstrations(count, seed=0))


def instruction(tasks: WebshopTasks, task) -> tuple[int, str]:
    return task.shop, tasks.describe(task)["goal"]


def product(tasks: WebshopTasks, task) -> tuple[int, str]:
    return task.shop, tasks.shops[task.shop].goals[task.goal].asin


def test_no_training_goal_is_a_goal_of_a_panel_nor_has_its_text(tasks):
    trained = training(tasks)
    for panel in PANELS:
        held_out = everything(tasks, panel)
        assert held_out
        assert not set(trained) & set(held_out)
        assert not {instruction(tasks, task) for task in trained} & {instruction(tasks, task) for task in held_out}


def test_panels_share_no_goal(tasks):
    test, unseen, dev = (set(everything(tasks, panel)) for panel in ("test", "unseen", "dev"))
    assert not (test & unseen or test & dev or unseen & dev)


def test_no_training_goal_asks_for_a_product_of_the_unseen_panel(tasks):
    wanted = {product(tasks, task) for task in everything(tasks, "unseen")}
    assert not wanted & {product(tasks, task) for task in training(tasks)}
    assert not wanted & {product(tasks, task) for task in everything(tasks, "dev")}


def test_products_of_the_test_panel_may_be_trained(tasks):
    wanted = {product(tasks, task) for task in everything(tasks, "test")}
    assert wanted & {product(tasks, task) for task in training(tasks)}


def test_a_larger_number_only_adds_tasks(tasks):
    assert tasks.demonstrations(30, seed=3)[:12] == tasks.demonstrations(12, seed=3)
    assert tasks.demonstrations(30, seed=3) != tasks.demonstrations(30, seed=4)
    assert tasks.panel("dev", 6)[:3] == tasks.panel("dev", 3)


def test_the_same_settings_make_the_same_tasks(tasks):
    again = WebshopTasks(tasks.settings)
    for panel in PANELS:
        assert [tasks.describe(task) for task in everything(tasks, panel)] == [
            again.describe(task) for task in everything(again, panel)
        ]
    assert tasks.demonstrations(20, seed=1) == again.demonstrations(20, seed=1)


def test_a_panel_takes_from_every_shop(small):
    assert {task.shop for task in small.panel("test", 3)} == {0, 1, 2}


def test_ids_name_one_task_each(tasks):
    whole = [task for panel in PANELS for task in everything(tasks, panel)] + training(tasks)
    assert len({tasks.describe(task)["id"] for task in whole}) == len(set(whole)) == len(whole)


def test_every_demonstration_is_paid_in_full(tasks):
    chosen = tasks.demonstrations(40, seed=0)
    shown, failed = demonstrations.demonstrate(tasks, "webshop", chosen, 0, "expert")
    assert len(shown) == 40 - len(failed) >= 38
    assert all(one.won and one.goal in one.observations[0] for one in shown)
    assert all(len(one.actions) <= tasks.settings.max_steps for one in shown)


def test_an_expert_that_may_not_finish_raises():
    hurried = WebshopTasks(WebshopSettings(n_shops=1, n_products=20, max_steps=2))
    with pytest.raises(ValueError, match=r"the expert is paid 0\.00 for goal"):
        hurried.expert(hurried.demonstrations(1, seed=0)[0], seed=0)


def test_an_episode_is_a_text_env_with_sorted_admissible_actions(small):
    task = small.panel("dev", 1)[0]
    episode = small.environment(task)
    assert isinstance(episode, environments.TextEnv)
    assert small.describe(task)["goal"] in episode.reset()
    for action in small.expert(task, seed=0):
        assert episode.admissible == sorted(episode.admissible)
        assert action in episode.admissible
        step = episode.step(action)
        assert isinstance(step, environments.StepResult)
    assert (step.done, step.won, step.reward) == (True, True, 1.0)


def test_two_episodes_of_a_task_do_not_share_state(small):
    task = small.panel("dev", 1)[0]
    plan = small.expert(task, seed=0)
    one, other = small.environment(task), small.environment(task)
    start = one.reset()
    one.step(plan[0])
    assert other.reset() == start
    assert other.step(plan[0]).observation != start


@pytest.mark.parametrize(
    ("action", "offered"),
    [
        ("search[blue wool hat]", True),
        ("search[hat] and more", True),
        ("SEARCH[hat]", False),  # the engine reads the action's name as it stands
        ("click[search]", False),  # the button alone searches nothing
        ("click[buy now]", False),
        ("search[]", False),
        ("buy", False),
        ("", False),
    ],
)
def test_what_the_first_page_offers(small, action, offered):
    episode = small.environment(small.panel("dev", 1)[0])
    episode.reset()
    assert (action in episode.admissible) is offered


def test_a_search_is_offered_only_where_there_is_a_search_bar(small):
    episode = small.environment(small.panel("dev", 1)[0])
    episode.reset()
    episode.step("search[product]")
    assert "search[product]" not in episode.admissible
    for action in ("click[back to search]", "click[Back to Search]", "click[back to search] please"):
        assert action in episode.admissible


def test_equal_anchors_mean_equal_pages_and_equal_pay(small):
    """Random shoppers of one goal: what a purchase pays is decided by the anchor, and so is every page but the way
    back, which depends on the search."""
    seen: dict[tuple[str, str], tuple[str, float]] = {}
    met = 0
    for seed in range(30):
        episode, generator = small.environment(small.panel("test", 1)[0]), random.Random(seed)
        episode.reset()
        for _ in range(12):
            before, action = episode.anchor, random_policy(episode._shopper, generator)
            step = episode.step(action)
            if action != "click[< prev]":
                after = (step.observation if step.done else episode.anchor, step.reward)
                met += (before, action) in seen
                assert seen.setdefault((before, action), after) == after
            if step.done:
                break
    assert met > 20


def test_a_chosen_option_changes_the_anchor_though_the_page_is_the_same(small):
    for task in small.demonstrations(40, seed=0):
        episode = small.environment(task)
        episode.reset()
        *way, option, buy = small.expert(task, seed=0)
        for action in way:
            episode.step(action)
        if buy == "click[buy now]" and option.startswith("click[") and len(way) >= 2:
            before = episode.anchor
            episode.step(option)
            assert episode.anchor != before
            return
    pytest.fail("no demonstration chooses an option")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_products": 0}, "webshop.n_products is 0"),
        ({"max_steps": 0}, "webshop.max_steps is 0"),
        ({"seed": -1}, "webshop.seed is -1"),
        ({"price_seed": -2}, "webshop.price_seed is -2"),
        ({"panels": {"seen": 3}}, "webshop.panels names 'seen': choose from test, unseen, dev"),
        ({"shop": "real"}, "webshop.shop"),
        ({"products": 4}, "webshop.products is no setting"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_key(values, message):
    with pytest.raises(UserError) as caught:
        configuration.build(WebshopSettings, values, "webshop")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shop_without_files_says_where_it_looked(tmp_path):
    official = environments.load("webshop", {"shop": "official", "path": str(tmp_path / "nothing")})
    with pytest.raises(UserError, match=r"webshop\.shop=official"):
        official.panel("test", 1)


def test_the_registry_knows_webshop():
    assert isinstance(environments.load("webshop", {"n_products": 20}), WebshopTasks)


def test_the_official_test_panel_is_the_published_one(shared):
    tasks = WebshopTasks(WebshopSettings(shop="official", path=str(shared("fixtures/webshop"))))
    assert [task.goal for task in tasks.panel("test", 600)] == list(range(500))
    texts = {tasks.describe(task)["goal"] for panel in PANELS for task in everything(tasks, panel)}
    assert not texts & {tasks.describe(task)["goal"] for task in tasks.demonstrations(50, seed=0)}
