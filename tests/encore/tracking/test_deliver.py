"""Queued runs go to MLflow while others are made."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from encore.tracking.delivery import queued
from encore.tracking.run import HOME
from experiments import deliver, repro

from .conftest import train

DELIVER = [sys.executable, "-m", "experiments.deliver"]


@pytest.fixture
def three(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Finished runs that wait."""
    monkeypatch.setenv("ENCORE_TRACK", "deferred")
    return [train(steps=1, out=f"runs/train/room-sft-{seed}", seed=seed) for seed in range(3)]


@pytest.mark.slow
def test_what_is_queued_is_sent_and_more_is_waited_for(three: list[Path], runs: Callable[..., list[object]]) -> None:
    assert [folder.resolve() for _, folder in queued(HOME)] == [folder.resolve() for folder in three]
    process = subprocess.Popen(DELIVER)
    try:
        deadline = time.monotonic() + 120
        while queued(HOME):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()
    assert len(runs()) == 3


def test_it_ends_quietly_where_mlflow_takes_nothing(three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = subprocess.run(DELIVER, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(queued(HOME)) == 3, "nothing is lost"


def test_a_run_that_cannot_be_read_is_left_and_not_tried_without_pause(three: list[Path], monkeypatch) -> None:
    (three[1] / "run.yaml").write_text("[", encoding="utf-8")
    pauses: list[int] = []

    def pause(_: float) -> None:
        pauses.append(len(queued(HOME)))
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(deliver.time, "sleep", pause)
    monkeypatch.setattr(deliver.os, "nice", lambda _: 0)
    with pytest.raises(KeyboardInterrupt):
        deliver.main()
    assert pauses == [1, 1]


@pytest.mark.parametrize(("mode", "started"), [("auto", True), ("deferred", False), ("off", False)])
def test_it_runs_beside_the_stages_unless_runs_are_to_wait(checkout, monkeypatch, mode, started) -> None:
    monkeypatch.setenv("ENCORE_TRACK", mode)
    (checkout / "params.yaml").write_text("tracking: {mlflow: auto}\n", encoding="utf-8")
    begun: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            begun.append(self)

    monkeypatch.setattr(repro.subprocess, "Popen", Popen)
    with repro.delivery():
        assert len(begun) == started
        assert all(process.poll() is None for process in begun)
    assert all(process.poll() is not None for process in begun)


def test_a_note_that_another_process_takes_away_is_no_error(three: list[Path], monkeypatch) -> None:
    read, gone = Path.read_text, queued(HOME)[1][0]

    def taken(path, *arguments, **options):
        if path == gone:
            gone.unlink()
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", taken)
    assert [folder.resolve() for _, folder in queued(HOME)] == [three[0].resolve(), three[2].resolve()]
