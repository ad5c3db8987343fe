"""Games, and how the official ones are read from disk."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from .goals import TASK_TYPES, DamagedGame
from .problem import parse_problem

__all__ = ["TASK_TYPES", "DamagedGame", "DamagedGameWarning", "Game", "GameFolder", "load_games"]

SPLITS = {
    "train": "train",
    "valid_train": "valid_train",
    "valid_seen": "valid_seen",
    "valid_unseen": "valid_unseen",
    "seen": "valid_seen",
    "unseen": "valid_unseen",
    "eval_in_distribution": "valid_seen",
    "eval_out_of_distribution": "valid_unseen",
}
_TASK_SENTENCE = re.compile(r'"Your task is to: ((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Game:
    """One text game. Everything that is not here (domain and grammar) is the same in all games.

    `id` is "<split>/<task>/<trial>" for official games; `task_type` is one of `TASK_TYPES`; `goal_text` is the task
    sentence as the game shows it, with its full stop; `pddl_problem` is the problem file verbatim.
    """

    id: str
    task_type: str
    goal_text: str
    pddl_problem: str
    split: str = "train"
    scene: str = ""


class DamagedGameWarning(UserWarning):
    """Some games of a folder were refused; `.refused` of the returned games has each with its reason."""


class GameFolder(Sequence[Game]):
    """The playable games of a split, sorted by id. All have been read and checked; their texts stay on disk (the train
    split would fill 200 MB) and are read again when a game is asked for.

    `refused`: (game file, reason) of the damaged ones. `excluded`: (folder, reason) of those that ALFWorld's loader
    leaves out too (movable, Sliced, other task types, not known to be solvable, no game file).
    """

    def __init__(
        self,
        split: str,
        paths: Sequence[tuple[str, Path]],
        refused: list[tuple[Path, str]],
        excluded: list[tuple[Path, str]],
    ) -> None:
        self.split = split
        self.refused = refused
        self.excluded = excluded
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Game: ...
    @overload
    def __getitem__(self, index: slice) -> list[Game]: ...
    def __getitem__(self, index: int | slice) -> Game | list[Game]:
        if isinstance(index, slice):
            return [self._read(*place) for place in self._paths[index]]
        return self._read(*self._paths[index])

    def _read(self, id_: str, path: Path) -> Game:
        return _make_game(_read_json(path), _read_json(path.parent / "traj_data.json"), id_, self.split)

    def __repr__(self) -> str:
        return f"GameFolder({self.split!r}, {len(self)} games, {len(self.refused)} refused)"


def load_games(path: str | Path | None = None, split: str = "train") -> GameFolder:
    """The games of a split of the official data, json_2.1.1 or json_2.1.3 layout, sorted by id.

    `path` is the data root or a json_* folder in it; None means $ALFWORLD_DATA. `split` is train, valid_train,
    valid_seen (also seen, eval_in_distribution) or valid_unseen (also unseen, eval_out_of_distribution). Damaged games
    are refused with a DamagedGameWarning; the others load. Raises ValueError for an unknown split and
    FileNotFoundError where there is no data, both in one line.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    split = SPLITS[split]
    folder = _split_folder(path, split)
    paths: list[tuple[str, Path]] = []
    refused: list[tuple[Path, str]] = []
    excluded: list[tuple[Path, str]] = []
    for trial in _trial_folders(folder):
        id_ = f"{split}/{trial.relative_to(folder).as_posix()}"
        game_file = trial / "game.tw-pddl"
        try:
            reason, game = _examine(id_, trial, split)
            if game is None:
                excluded.append((trial, reason))
                continue
            goal_type = parse_problem.__wrapped__(game.pddl_problem).goal.task_type
            if goal_type != game.task_type:
                raise DamagedGame(f"its goal is {goal_type}, its traj_data.json says {game.task_type}")
        except (OSError, ValueError) as error:
            refused.append((game_file, str(error)))
        else:
            paths.append((id_, game_file))
    if refused:
        first = f"{refused[0][0]}: {refused[0][1]}"
        warnings.warn(
            f"{len(refused)} of {len(refused) + len(paths)} games are damaged and left out, see .refused: {first}",
            DamagedGameWarning,
            stacklevel=2,
        )
    return GameFolder(split, sorted(paths), refused, excluded)


def _split_folder(path: str | Path | None, split: str) -> Path:
    if path is None:
        path = os.environ.get("ALFWORLD_DATA")
        if not path:
            raise FileNotFoundError("no ALFWorld data: set ALFWORLD_DATA, pass path=, or run `encore data alfworld`")
    root = Path(path).expanduser()
    # The newest data first, but a folder of images or masks alone has no game files.
    for base in (root, *sorted(root.glob("json_*"), reverse=True)):
        if any((base / split).rglob("game.tw-pddl")):
            return base / split
    raise FileNotFoundError(f"no game.tw-pddl under {root}/json_*/{split}: is this the ALFWorld data folder?")


def _trial_folders(folder: Path) -> Iterator[Path]:
    for current, _, files in os.walk(folder):
        if "traj_data.json" in files or "game.tw-pddl" in files:
            yield Path(current)


def _examine(id_: str, trial: Path, split: str) -> tuple[str, Game | None]:
    """The game, or the reason why ALFWorld's loader (alfred_tw_env.py, collect_game_files) leaves it out."""
    if "movable" in id_ or "Sliced" in id_:
        return "movable and Sliced tasks have no text game", None
    if not (trial / "game.tw-pddl").exists():
        return "no game file", None
    trajectory = _read_json(trial / "traj_data.json")
    task_type = trajectory.get("task_type")
    if isinstance(task_type, str) and task_type not in TASK_TYPES:
        return f"other task type: {task_type}", None
    content = _read_json(trial / "game.tw-pddl")
    if not content.get("solvable"):
        return "not known to be solvable", None
    return "", _make_game(content, trajectory, id_, split)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise DamagedGame(f"{path.name} is missing")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedGame(f"{path.name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise DamagedGame(f"{path.name} holds no JSON object")
    return content


def _make_game(content: dict[str, Any], trajectory: dict[str, Any], id_: str, split: str) -> Game:
    for key in ("pddl_domain", "grammar", "pddl_problem"):
        if not isinstance(content.get(key), str) or not content[key].strip():
            raise DamagedGame(f"game.tw-pddl has no {key}")
    sentence = _TASK_SENTENCE.search(content["grammar"])
    if sentence is None or "UNKNOWN GOAL" in sentence[1]:
        raise DamagedGame("the grammar has no task sentence")
    task_type = trajectory.get("task_type")
    if task_type not in TASK_TYPES:
        raise DamagedGame("traj_data.json has no task_type")
    scene = trajectory.get("scene")
    floor_plan = scene.get("floor_plan", "") if isinstance(scene, dict) else ""
    return Game(id_, task_type, json.loads(f'"{sentence[1]}"'), content["pddl_problem"], split, str(floor_plan))
