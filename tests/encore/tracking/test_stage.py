"""A stage script ends in one line for what its user can put right, and in a traceback for what its author must."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from encore import tracking
from encore.errors import UserError
from encore.tracking import entries, provenance


def full_disk() -> None:
    """As safetensors tells it, inside another exception."""
    try:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    except RuntimeError as error:
        raise RuntimeError("saving the checkpoint failed") from error


def user_error() -> None:
    raise UserError("params.yaml: method is 'stf';\n known methods: grpo, sft")


def no_permission() -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/demos.jsonl")


def ctrl_c() -> None:
    raise KeyboardInterrupt


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("stage", "status", "words"),
    [
        (user_error, 1, "encore: params.yaml: method is 'stf'; known methods: grpo, sft"),
        (full_disk, 1, "disk is full"),
        (no_permission, 1, "/data/demos.jsonl: permission denied"),
        (ctrl_c, 130, "interrupted"),
        (terminated, 143, ""),
    ],
)
def test_users_errors_end_in_one_line(
    stage: Callable[[], None], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        tracking.main(stage)
    shown = capsys.readouterr().err
    assert ended.value.code == status and words in shown and shown.count("\n") <= 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_defects_keep_their_traceback() -> None:
    @tracking.stage_main
    def stage() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage()


def test_the_pipelines_own_lock_file_makes_no_checkout_dirty(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert provenance.git_state(tmp_path) is None
    git("init")
    (tmp_path / "code.py").write_text("1")
    (tmp_path / "dvc.lock").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "dvc.lock").write_text("2")
    state = provenance.git_state(tmp_path)
    assert state is not None and len(state["commit"]) == 40 and not state["dirty"]
    (tmp_path / "code.py").write_text("2")
    assert provenance.git_state(tmp_path) == {**state, "dirty": True}


@pytest.mark.parametrize("name", ["a" * 400, "odd (name)?", "../up", "/", "a//b", "précision", "", "x/./y"])
def test_every_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    made = entries.key(name)
    for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        validate(made)
    assert len(made) <= 250


def test_cut_names_stay_apart() -> None:
    assert entries.key("a" * 300 + "x") != entries.key("a" * 300 + "y")
