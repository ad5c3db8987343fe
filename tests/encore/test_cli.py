"""The command `encore`: every subcommand explains itself, and a user's error is one line."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from encore import cli
from encore.errors import UserError


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: f"{command.group}-{command.name}")
def test_every_subcommand_has_help_and_a_target(command: cli.Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command.group, command.name, "--help"])
    assert ended.value.code == 0 and command.help[1:] in capsys.readouterr().out
    assert command.run.count(":") == 1


def test_starting_the_command_loads_no_heavy_library() -> None:
    """`encore --help` must answer at once: MLflow, Torch and codecarbon take seconds each."""
    import subprocess

    code = "import sys, encore.cli, encore.tracking; print({'mlflow', 'torch', 'codecarbon'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "module"), [("alfworld", "alfworld_env.download"), ("webshop", "webshop_env.download")]
)
def test_data_calls_the_environments_download(monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    asked: list[str] = []
    fake = types.ModuleType(module)
    fake.download = asked.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module, fake)
    assert cli.main(["data", name, "here"]) == 0
    assert cli.main(["data", name]) == 0
    assert asked == ["here", f"data/{name}"]


def test_users_error_is_one_line_and_status_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = types.ModuleType("alfworld_env.download")

    def fail(path: str) -> None:
        raise UserError(f"{path} is not empty: choose another folder")

    fake.download = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "alfworld_env.download", fake)
    assert cli.main(["data", "alfworld", "here"]) == 1
    assert capsys.readouterr().err == "encore: here is not empty: choose another folder\n"


def test_register_adds_a_subcommand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", list(cli.COMMANDS))
    monkeypatch.setattr(cli, "GROUPS", dict(cli.GROUPS))
    monkeypatch.setattr(cli, "answer", lambda parsed: 42, raising=False)
    cli.register(cli.Command("ask", "all", "answer everything", "encore.cli:answer"), "questions")
    assert cli.main(["ask", "all"]) == 42


def test_track_list_shows_finished_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from encore import tracking

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCORE_TRACK", "deferred")
    with tracking.start("runs/a", "paper.split", "paper", seed=0) as run:
        run.result({"examples": 7})
    capsys.readouterr()
    assert cli.main(["track", "list"]) == 0
    shown = capsys.readouterr().out
    assert "paper.split" in shown and "examples 7" in shown and "1 waiting" in shown
    assert cli.main(["track", "list", "nowhere"]) == 1
