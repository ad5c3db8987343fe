"""What holds for the engine in every state and for every command."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alfworld_env import AlfworldEnv, Game, generate_games

MakeGame = Callable[..., Game]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
walks = st.lists(st.integers(0, 10**6), max_size=40)
words = [
    "go",
    "to",
    "take",
    "move",
    "from",
    "open",
    "fridge",
    "mug",
    "1",
    "2",
    "desk",
    "help",
    "look",
    "use",
    "\n",
    "GO",
]
commands = st.one_of(st.text(), st.lists(st.sampled_from(words), max_size=6).map(" ".join))


def walked(game: Game, walk: list[int]) -> AlfworldEnv:
    env = AlfworldEnv(game)
    for choice in walk:
        admissible = env.admissible
        assert env.step(admissible[choice % len(admissible)]).observation != "Nothing happens."
    return env


@quick
@given(walk=walks)
def test_every_admissible_command_is_accepted_anywhere(make_game: MakeGame, walk: list[int]) -> None:
    env = walked(make_game(), walk)
    for command in env.admissible:
        assert env.clone().step(f" {command}\n").observation != "Nothing happens."


@quick
@given(walk=walks, command=commands)
def test_any_other_command_is_refused_and_changes_nothing(make_game: MakeGame, walk: list[int], command: str) -> None:
    env = walked(make_game(), walk)
    admissible, won = env.admissible, env.won
    step = env.step(command)
    if command.strip() not in admissible:
        assert step.observation == "Nothing happens."
        assert (env.admissible, env.won) == (admissible, won)


@quick
@given(walk=walks)
def test_admissible_commands_are_sorted_and_unique(make_game: MakeGame, walk: list[int]) -> None:
    admissible = walked(make_game(), walk).admissible
    assert admissible == sorted(set(admissible))


@quick
@given(walk=walks)
def test_the_list_of_commands_is_the_callers_own(make_game: MakeGame, walk: list[int]) -> None:
    env = walked(make_game(), walk)
    before = list(env.admissible)
    env.admissible.clear()
    assert env.admissible == before


@quick
@given(walk=walks)
def test_reset_forgets_the_episode(make_game: MakeGame, walk: list[int]) -> None:
    """A walk gives the same texts again after a reset: no state, and no cache, survives."""
    env, fresh = walked(make_game(), walk), AlfworldEnv(make_game())
    assert env.reset() == fresh.reset()
    for choice in walk:
        assert env.admissible == fresh.admissible
        command = env.admissible[choice % len(env.admissible)]
        assert env.step(command) == fresh.step(command)


@quick
@given(walk=walks)
def test_cached_lists_equal_lists_made_afresh(make_game: MakeGame, walk: list[int]) -> None:
    """The engine lists commands once per state; a clone told to forget its lists must find the same ones."""
    state = walked(make_game(), walk).state
    copy = state.clone()
    copy._local = copy._won = None
    assert (copy.admissible, copy.won) == (state.admissible, state.won)


def test_the_anchor_tells_states_and_not_ways():
    """Going somewhere and back is the same state; looking changes nothing; taking something does."""
    env = AlfworldEnv(generate_games(1, seed=3, size="small")[0])
    env.reset()
    places = [action for action in env.admissible if action.startswith("go to")]
    env.step(places[0])
    first = env.anchor
    env.step("look")
    env.step("no such command")
    assert env.anchor == first
    env.step(places[1])
    assert env.anchor != first
    env.step(places[0])
    assert env.anchor == first
    for place in places:
        env.step(place)
        before = env.anchor
        changing = [action for action in env.admissible if action.startswith(("open", "take"))]
        if changing:
            env.step(changing[0])
            break
    assert env.anchor != before
    assert env.clone().anchor == env.anchor
