"""Runs: what a stage made, from what, and at what cost, as files first and in MLflow after that.

    with tracking.start(out="runs/prism/train/alfworld-sft-0", stage="prism.train", experiment="prism",
                        group={"environment": "alfworld", "method": "sft"}, seed=0, params=params, inputs=[demos]) as
                        run:
        with run.phase("sft"):
            ...
        run.result({"success_unseen": 0.31})

The folder `out` appears whole, at the end. `encore track sync` builds the same MLflow runs from such folders alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from encore.tracking.flops import ModelShape, flops
from encore.tracking.run import Run, active
from encore.tracking.stage import main, stage_main
from encore.tracking.store import Unreachable

__all__ = ["ModelShape", "Run", "Unreachable", "active", "flops", "log_parent", "main", "stage_main", "start", "sync"]


def start(
    out: str | os.PathLike[str],
    stage: str,
    experiment: str,
    group: Mapping[str, Any] | None = None,
    seed: int | None = None,
    params: Mapping[str, Any] | None = None,
    inputs: Iterable[str | os.PathLike[str]] = (),
    continues: str | os.PathLike[str] | None = None,
    profile: str | None = None,
) -> Run:
    """A run, to be used as a context.

    Args:
        out: final folder; written once, at the end, by a rename. An older folder there is replaced.
        stage: name of the stage, `<paper>.<step>`.
        experiment: MLflow experiment, one a paper.
        group: what the parent run stands for, as environment and method; empty: no parent.
        seed: seed of this run; None where nothing is random.
        params: every resolved parameter, nested. `params["tracking"]` holds what does not change a result:
            `price_per_device_hour`, `country` (ISO 3166 alpha-3, for emissions), `devices`, `log_models`, `mlflow`
            (auto, on, deferred or off).
        inputs: files and folders that this run reads; their contents are part of its hash.
        continues: folder of a finished run whose MLflow run this one adds to, as an evaluation adds to a training.
        profile: name of the scale; default `params["profile"]`.

    Raises:
        UserError: an input or the continued run is missing, or the same run is going on in another process.
    """
    return Run(out, stage, experiment, group or {}, seed, params or {}, inputs, continues, profile)


def log_parent(
    experiment: str,
    group: Mapping[str, Any],
    summary: Mapping[str, Any],
    tables: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    artifacts: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Puts a summary over seeds on the parent run of `group`, from inside the run of the stage that compared.

    Args:
        experiment: experiment of the children.
        group: as the children gave it to `start`.
        summary: numbers by name, nested if wanted: `{"success": {"mean": 0.3, "low": 0.2, "high": 0.4}}`.
        tables: rows by name, shown as tables of the parent.
        artifacts: files under `run.out`.

    Raises:
        RuntimeError: outside a run. The summary is part of the comparing run's files, so that a sync can send it again.
    """
    run = active()
    if run is None:
        raise RuntimeError("log_parent() belongs inside `with tracking.start(...)` of the stage that compares")
    run.parent(experiment, group, summary, tables, artifacts)


def sync(folder: str | os.PathLike[str]) -> str:
    """Creates or completes the MLflow run of one finished run folder; twice is as good as once.

    Returns:
        `sent`, `unchanged`, or `superseded` (MLflow has a later execution of the same inputs).

    Raises:
        Unreachable: MLflow does not answer.
    """
    from encore.tracking.mlflow_sync import sync_folder
    from encore.tracking.run import HOME

    return sync_folder(Path(folder), HOME)
