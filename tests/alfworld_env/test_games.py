"""Official data on disk: what loads, what is left out as ALFWorld leaves it out, and what is refused with a reason."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import alfworld_env
from alfworld_env import DamagedGameWarning, Game, load_games
from alfworld_env.download import download

MakeGame = Callable[..., Game]
GRAMMAR = 'grammar :: """{"task": [{"rhs": "Your task is to: %s"}]}""";'


def write(root: Path, game: Game, trial: str = "trial_1", **changes: Any) -> Path:
    folder = root / "json_2.1.1" / "train" / game.id.split("/")[1] / trial
    folder.mkdir(parents=True)
    trajectory = {"task_type": game.task_type, "scene": {"floor_plan": "FloorPlan1"}}
    content = {"pddl_domain": "(define)", "grammar": GRAMMAR % game.goal_text, "pddl_problem": game.pddl_problem}
    content["solvable"] = True  # type: ignore[assignment]
    content.update((k, v) for k, v in changes.items() if k in content)
    trajectory.update((k, v) for k, v in changes.items() if k in trajectory)
    (folder / "game.tw-pddl").write_text(json.dumps(content))
    (folder / "traj_data.json").write_text(json.dumps(trajectory))
    return folder


def test_loads_the_official_layout_sorted_by_id(tmp_path: Path, make_game: MakeGame) -> None:
    for task_type, trial in (("pick_heat_then_place_in_recep", "trial_b"), ("pick_and_place_simple", "trial_c")):
        write(tmp_path, make_game(task_type), trial)
    write(tmp_path, make_game(), "trial_a")
    games = load_games(tmp_path)
    assert [game.id.split("-")[0] + game.id[-2:] for game in games] == [
        "train/pick_and_place_simple_a",
        "train/pick_and_place_simple_c",
        "train/pick_heat_then_place_in_recep_b",
    ]
    assert games[0].goal_text == "put a mug in desk." and games[0].scene == "FloorPlan1"
    assert games[0].pddl_problem == make_game().pddl_problem
    assert isinstance(games, Sequence) and games[1:] == [games[1], games[2]] and games.refused == []
    assert list(load_games(tmp_path / "json_2.1.1")) == list(games)


def test_leaves_out_what_alfworld_leaves_out(tmp_path: Path, make_game: MakeGame) -> None:
    write(tmp_path, make_game(), "trial_good")
    write(tmp_path, make_game(), "trial_unsolvable", solvable=False)
    write(tmp_path, make_game(), "trial_other", task_type="pick_and_stack")
    write(tmp_path, make_game(), "trial_movable")
    write(tmp_path, make_game("pick_and_place_simple", "AppleSliced"), "trial_x")
    (write(tmp_path, make_game(), "trial_without") / "game.tw-pddl").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        games = load_games(tmp_path)
    assert len(games) == 1 and len(games.excluded) == 5 and games.refused == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "game.tw-pddl").write_text((f / "game.tw-pddl").read_text()[:900]), "game.tw-pddl is not JSON"),
        (lambda f: (f / "game.tw-pddl").write_bytes(b""), "game.tw-pddl is not JSON"),
        (lambda f: (f / "game.tw-pddl").write_bytes(b"\xff\xfe\xfa{}"), "game.tw-pddl is not JSON"),
        (lambda f: (f / "game.tw-pddl").write_text("[1]"), "game.tw-pddl holds no JSON object"),
        (lambda f: (f / "traj_data.json").write_text("{"), "traj_data.json is not JSON"),
        (lambda f: (f / "traj_data.json").unlink(), "traj_data.json is missing"),
        (lambda f: (f / "traj_data.json").write_text("{}"), "traj_data.json has no task_type"),
    ],
)
def test_damaged_files_are_refused_and_the_others_load(
    tmp_path: Path, make_game: MakeGame, damage: Callable[[Path], object], reason: str
) -> None:
    write(tmp_path, make_game(), "trial_good")
    folder = write(tmp_path, make_game(), "trial_bad")
    damage(folder)
    with pytest.warns(DamagedGameWarning, match="1 of 2 games are damaged"):
        games = load_games(tmp_path)
    assert len(games) == 1
    ((path, why),) = games.refused
    assert path == folder / "game.tw-pddl" and why.startswith(reason) and "\n" not in why


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"grammar": "no sentence"}, "the grammar has no task sentence"),
        ({"grammar": GRAMMAR % "UNKNOWN GOAL."}, "the grammar has no task sentence"),
        ({"pddl_problem": ""}, "game.tw-pddl has no pddl_problem"),
        ({"pddl_problem": "(define (problem x)"}, "the PDDL problem is cut off"),
        ({"task_type": "pick_two_obj_and_place"}, "its goal is pick_and_place_simple"),
    ],
)
def test_damaged_contents_are_refused(
    tmp_path: Path, make_game: MakeGame, changes: dict[str, Any], reason: str
) -> None:
    write(tmp_path, make_game(), **changes)
    with pytest.warns(DamagedGameWarning):
        games = load_games(tmp_path)
    assert len(games) == 0 and games.refused[0][1].startswith(reason)


@pytest.mark.parametrize("name", ["unseen", "eval_out_of_distribution", "valid_unseen"])
def test_splits_have_the_names_of_the_configuration(tmp_path: Path, make_game: MakeGame, name: str) -> None:
    write(tmp_path, make_game())
    (tmp_path / "json_2.1.1" / "train").rename(tmp_path / "json_2.1.1" / "valid_unseen")
    assert load_games(tmp_path, name)[0].id.startswith("valid_unseen/")


def test_lacking_data_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_game: MakeGame) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set ALFWORLD_DATA") as error:
        load_games()
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"no game\.tw-pddl under"):
        load_games(tmp_path)
    with pytest.raises(ValueError, match="unknown split 'test'"):
        load_games(tmp_path, "test")
    write(tmp_path, make_game())
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    assert len(load_games()) == 1


def test_all_official_problems_parse_and_agree_with_their_task(official_games: dict[str, Game]) -> None:
    from alfworld_env.problem import parse_problem

    assert len(official_games) == 3827
    for game in list(official_games.values())[::5]:
        assert parse_problem(game.pddl_problem).goal.task_type == game.task_type


def test_download_fails_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "alfworld-download"
    script.write_text("raise ConnectionError('no way out')")
    monkeypatch.setattr("alfworld_env.download._script", lambda: str(script))
    with pytest.raises(RuntimeError, match=r"is there a network\? ConnectionError: no way out") as error:
        download(tmp_path / "data")
    assert "\n" not in str(error.value)
    monkeypatch.setattr("alfworld_env.download._script", lambda: None)
    with pytest.raises(RuntimeError, match="not installed"):
        download(tmp_path / "data")


def test_the_contract_is_exported() -> None:
    for name in alfworld_env.__all__:
        assert getattr(alfworld_env, name) is not None
    with pytest.raises(AttributeError):
        alfworld_env.nothing  # noqa: B018
