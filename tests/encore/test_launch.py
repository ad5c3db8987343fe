"""A stage in two processes: one run, one line for a failure, one end for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from encore import launch
from encore.errors import UserError

HERE = Path(__file__).parent


def begin(folder: Path, mode: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"OMP_NUM_THREADS": "1", "ENCORE_TRACK": "off", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "launched", mode],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(text: str) -> list[str]:
    """Lines of Encore's; torch may warn."""
    return [line for line in text.splitlines() if line.startswith("encore:")]


@pytest.mark.slow
def test_the_first_process_keeps_the_run(tmp_path: Path) -> None:
    process = begin(tmp_path, "whole")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert len(out.strip().splitlines()) == 1, "one summary"
    record = yaml.safe_load((tmp_path / "out/run.yaml").read_text())
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == {"rank": 0}
    assert len((tmp_path / "out/metrics.jsonl").read_text().splitlines()) == 1
    assert record["costs"]["tokens_trained"] == 3 + 4
    assert record["tags"]["processes"] == "2"
    assert (tmp_path / "started-1").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("wrong", "the second process found a mistake: correct it"),
        ("killed", "process 1 of the training was ended by SIGKILL"),
        ("defect", "process 1 of the training ended with status 1; its traceback is above"),
    ],
)
def test_a_process_that_fails_ends_all_in_one_line(tmp_path: Path, mode: str, line: str) -> None:
    process = begin(tmp_path, mode)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert len(said(err)) == 1 and line in said(err)[0], err
    assert ("Traceback" in err) == (mode == "defect"), err
    assert not (tmp_path / "out").exists()
    for rank in (0, 1):
        assert not Path(f"/proc/{(tmp_path / f'started-{rank}').read_text()}").exists()


@pytest.mark.slow
def test_sigterm_ends_all(tmp_path: Path) -> None:
    process = begin(tmp_path, "waits")
    deadline = time.monotonic() + 150
    while not all((tmp_path / f"waits-{rank}").exists() for rank in (0, 1)) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    for rank in (0, 1):
        assert not Path(f"/proc/{(tmp_path / f'started-{rank}').read_text()}").exists()


def test_what_cannot_be_launched_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"launch\.processes is 0"):
        launch.LaunchSettings(0)
    with pytest.raises(UserError, match="there is no such file"):
        launch.restart("none", launch.LaunchSettings(2, str(tmp_path / "none.yaml")), "cpu")
    with pytest.raises(UserError, match="shards no weights on CPUs"):
        launch.restart("none", launch.LaunchSettings(2, "conf/accelerate/fsdp.yaml"), "cpu")
    with pytest.raises(UserError, match=r"launch\.processes is 99"):
        launch.restart("none", launch.LaunchSettings(99), "cuda")


def test_a_single_process_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert not launch.is_due(launch.LaunchSettings())
    assert launch.is_due(launch.LaunchSettings(2))
    monkeypatch.setenv("RANK", "1")
    assert not launch.is_due(launch.LaunchSettings(2))
