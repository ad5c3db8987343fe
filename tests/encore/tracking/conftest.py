"""A working folder with an MLflow store of its own; the store's tables are made once for the whole session."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from encore import tracking


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with MLflow's tables and nothing else; making one takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Path:
    """An empty checkout, as current folder, that sends every run to its own mlflow.db at once."""
    for name in ("MLFLOW_TRACKING_URI", "http_proxy", "HTTP_PROXY", "ENCORE_TRACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCORE_TRACK", "on")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def client(checkout: Path) -> MlflowClient:
    """A client of the checkout's store."""
    return MlflowClient(f"sqlite:///{checkout / 'mlflow.db'}")


@pytest.fixture
def runs(client: MlflowClient) -> Callable[..., list[MlflowRun]]:
    """`runs()` gives the children, `runs("encore.parent_key")` the parents: runs with a tag, in order of start."""

    def find(tag: str = "encore.inputs_hash", experiment: str = "paper") -> list[MlflowRun]:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        every = client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"])
        return [run for run in every if tag in run.data.tags]

    return find


def settings(**changes: Any) -> dict[str, Any]:
    """Arguments of `tracking.start` for a small training."""
    arguments: dict[str, Any] = {
        "out": "runs/train/room-sft-0",
        "stage": "paper.train",
        "experiment": "paper",
        "group": {"environment": "room", "method": "sft"},
        "seed": 0,
        "params": {"model": {"layers": 2}, "learning_rate": 1e-4},
    }
    return arguments | changes


def train(steps: int = 3, **changes: Any) -> Path:
    """Runs a small training; returns its folder."""
    with tracking.start(**settings(**changes)) as run:
        with run.phase("sft"):
            for step in range(steps):
                run.curve({"loss": 1.0 / (step + 1), "lr": 1e-4}, step=step)
        run.count(tokens_trained=100, flops=1e9)
        run.table("episodes", [{"game": "a", "won": True}, {"game": "b", "won": False}])
        run.dataset("demos", [{"text": "take"}], source="generated")
        run.result({"success": 0.5, "by_type": {"pick": 0.25}})
    return run.final


def process(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Python code in a process of its own, in `folder`."""
    import os

    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
