"""`encore track sync` and `encore track list`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from encore.errors import UserError
from encore.tracking.delivery import queued
from encore.tracking.files import read_yaml
from encore.tracking.provenance import RUN_FILE
from encore.tracking.report import duration, flatten_numbers
from encore.tracking.run import HOME
from encore.tracking.store import Unreachable, tracking_uri


def sync(parsed: argparse.Namespace) -> int:
    """Sends every finished run under `parsed.runs`, and the queue, to MLflow; prints what it did."""
    root = _existing(parsed.runs)
    from encore.tracking import mlflow_sync

    try:
        outcomes = mlflow_sync.sync_tree(root, HOME)
        outcomes += mlflow_sync.sync_pending(HOME)  # runs that were written outside `runs`
    except Unreachable as error:
        raise UserError(
            f"MLflow at {tracking_uri()} cannot be reached ({error}): start it, or set MLFLOW_TRACKING_URI"
        ) from error
    for outcome in outcomes:
        if outcome.status != "unchanged":
            print(f"{outcome.status:<10} {outcome.folder}")
    counts = Counter(outcome.status for outcome in outcomes)
    told = ", ".join(
        f"{counts[status]} {status}"
        for status in ("sent", "unchanged", "superseded", "unreadable", "incomplete")
        if counts[status]
    )
    print(f"{told or 'no finished runs'} in {root} -> {tracking_uri()}")
    return 1 if counts["unreadable"] or counts["incomplete"] else 0


def list_runs(parsed: argparse.Namespace) -> int:
    """Prints one line for each finished run under `parsed.runs`: when, what, its time, its first result."""
    root = _existing(parsed.runs)
    waiting = {folder.resolve() for _, folder in queued(HOME)}
    rows = []
    for path in sorted(root.rglob(RUN_FILE)):
        record = read_yaml(path)
        if record.get("status") != "finished" or "inputs_hash" not in record:
            continue
        results = dict(flatten_numbers(json.loads((path.parent / "metrics.json").read_text(encoding="utf-8"))))
        first = next((f"{name} {value:.4g}" for name, value in results.items()), "")
        state = "queued" if path.parent.resolve() in waiting else ""
        when = record["started"][:19].replace("T", " ")
        rows.append((when, record["stage"], str(path.parent), duration(record["costs"]["wall_s"]), first, state))
    rows.sort()
    widths = [max(len(row[column]) for row in rows) for column in range(6)] if rows else []
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"{len(rows)} finished runs in {root}, {len(waiting)} waiting for MLflow")
    return 0


def _existing(folder: str) -> Path:
    root = Path(folder)
    if not root.is_dir():
        raise UserError(
            f"there is no folder {root}: name the folder that holds your runs, or make some with `dvc repro`"
        )
    return root
