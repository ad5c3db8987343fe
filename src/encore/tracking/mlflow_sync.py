"""From run folders to MLflow, idempotently: the one path that finished runs, running runs and `encore track sync` all
take.

A run folder is the truth and MLflow a view of it. The MLflow run is found by the tag `encore.inputs_hash`;
`encore.synced` holds the hash of what was sent, `encore.curve_lines` how many lines of metrics.jsonl, set in the same
request as the points. A run that continues another (an evaluation) writes into that one's MLflow run, with its
stage's name on tags that would clash.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from encore.tracking import entries
from encore.tracking.artifacts import ARTIFACTS, send_artifacts
from encore.tracking.curves import read_curves
from encore.tracking.delivery import queued
from encore.tracking.files import read_yaml
from encore.tracking.parents import find_or_create_experiment, find_or_create_parent, find_run, log_summary
from encore.tracking.provenance import CURVE_FILE, RESULT_FILE, RUN_FILE, content_hash
from encore.tracking.store import session

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

BATCH = 800  # metrics in one request: with as many parameters and tags as one takes, no more than MLflow's 1000
TAG_BATCH = 100  # MLflow's limit of parameters, and of tags


@dataclass(frozen=True)
class Outcome:
    """What became of one folder.

    `sent`; `unchanged`; `superseded`: MLflow has a later execution of the same inputs; `unreadable`: run.yaml is no
    YAML mapping; `incomplete`: the folder has lost its metrics.json.
    """

    folder: Path
    status: str


def sync_folder(folder: str | Path, home: Path) -> str:
    """Creates or completes the MLflow run of one finished run folder; see `encore.tracking.sync`."""
    with session(home) as client:
        return _sync(client, Path(folder))


def sync_tree(root: Path, home: Path) -> list[Outcome]:
    """Completes in MLflow every finished run under `root`, and empties the queue of what this has sent.

    Raises:
        Unreachable: MLflow does not answer.
    """
    folders = [
        path.parent for path in sorted(root.rglob(RUN_FILE)) if not any(p.startswith(".") for p in path.parts[:-1])
    ]
    return _sync_all(folders, home)


def sync_pending(home: Path, most: int | None = None) -> list[Outcome]:
    """Sends the queued runs; at most the `most` oldest."""
    return _sync_all([folder for _, folder in queued(home)[:most]], home)


def _sync_all(folders: list[Path], home: Path) -> list[Outcome]:
    notes = {folder.resolve(): note for note, folder in queued(home)}
    outcomes: list[Outcome] = []
    records: list[tuple[dict[str, Any], Path]] = []
    for folder in folders:
        if (folder / RUN_FILE).is_file():
            try:
                record = read_yaml(folder / RUN_FILE)
            except (ValueError, yaml.YAMLError):
                outcomes.append(Outcome(folder, "unreadable"))
                continue
            if "inputs_hash" in record and record.get("status") == "finished":
                if (folder / RESULT_FILE).is_file():
                    records.append((record, folder))
                else:
                    outcomes.append(Outcome(folder, "incomplete"))
    # A run comes after the one that it continues, which ended before it began.
    records.sort(key=lambda pair: pair[0]["started"])
    if records:
        with session(home) as client:
            for record, folder in records:
                outcomes.append(Outcome(folder, _sync(client, folder, record)))
                if (note := notes.pop(folder.resolve(), None)) is not None:
                    note.unlink(missing_ok=True)
    for folder, note in notes.items():
        if not (folder / RUN_FILE).is_file():  # the output was deleted since: there is nothing to send
            note.unlink(missing_ok=True)
    return outcomes


def push_running(work: Path, lines: int, home: Path) -> None:
    """Sends parameters and the first `lines` lines of the curves of a run that goes on."""
    record = read_yaml(work / RUN_FILE)
    with session(home) as client:
        target = _open_target(client, record)
        if target is not None:
            if record["continues"] is None and target.info.status != "RUNNING":
                client.update_run(target.info.run_id, status="RUNNING")
            _send_curves(client, target, record, work / CURVE_FILE, lines)


def end_running(work: Path, status: str, home: Path) -> None:
    """Marks the MLflow run of a failed (FAILED) or stopped (KILLED) run."""
    record = read_yaml(work / RUN_FILE)
    if record["continues"] is not None:
        return  # the training that it adds to is finished and stays so
    with session(home) as client:
        experiment = find_or_create_experiment(client, record["experiment"])
        target = find_run(client, experiment, "encore.inputs_hash", record["inputs_hash"])
        if target is not None:
            client.set_terminated(target.info.run_id, status)


def _sync(client: MlflowClient, folder: Path, record: dict[str, Any] | None = None) -> str:
    record = record or read_yaml(folder / RUN_FILE)
    suffix = entries.suffix(record)
    content = _content(folder)
    target = _open_target(client, record)
    if target is None:
        return "superseded"
    if target.data.tags.get(f"encore.synced{suffix}") == content:
        return "unchanged"
    run_id = target.info.run_id
    curves = list(read_curves(folder / CURVE_FILE))
    _send_curves(client, target, record, folder / CURVE_FILE, len(curves))
    _send_datasets(client, target, record)
    send_artifacts(client, target, record, folder)
    for parent in record["parents"]:
        log_summary(client, parent, record, folder)
    names = {key for line in curves for key in line}
    results = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    metrics = entries.final_metrics(record, results, names, max((line["step"] for line in curves), default=0))
    tags = [*entries.tags(record), *entries.note(folder, record)]
    while len(tags) >= TAG_BATCH:  # the last take one more
        client.log_batch(run_id, tags=tags[:TAG_BATCH])
        tags = tags[TAG_BATCH:]
    batches = [metrics[start : start + BATCH] for start in range(0, len(metrics), BATCH)]
    for batch in batches[:-1]:
        client.log_batch(run_id, metrics=batch)
    client.set_terminated(run_id, "FINISHED", end_time=entries.milliseconds(record["ended"]))
    # Last, and together with the last metrics: whatever breaks off before is sent again.
    client.log_batch(run_id, metrics=batches[-1], tags=[*tags, entries.tag(f"encore.synced{suffix}", content)])
    return "sent"


def _content(folder: Path) -> str:
    parts = [f"{name} {content_hash(folder / name)}" for name in (*ARTIFACTS, CURVE_FILE) if (folder / name).exists()]
    return entries.text_digest("\n".join(parts))


def _open_target(client: MlflowClient, record: dict[str, Any]) -> MlflowRun | None:
    """The MLflow run for `record`, made if need be; None if it holds a later execution of the same inputs.

    An earlier execution is deleted (MLflow keeps it under "Deleted"): its points cannot be told from new ones.
    """
    experiment = find_or_create_experiment(client, record["experiment"])
    continues, suffix = record["continues"], entries.suffix(record)
    run_hash = record["inputs_hash"] if continues is None else continues["inputs_hash"]
    target = find_run(client, experiment, "encore.inputs_hash", run_hash)
    if target is not None:
        execution = target.data.tags.get(f"encore.execution{suffix}")
        if execution == record["execution"]:
            return target
        if execution is not None and target.data.tags[f"encore.started{suffix}"] > record["started"]:
            return None
        if execution is not None:
            client.delete_run(target.info.run_id)
            target = None
    if target is None and continues is not None:
        earlier = Path(continues["folder"]) / RUN_FILE
        if earlier.is_file() and read_yaml(earlier)["inputs_hash"] == run_hash:
            _sync(client, earlier.parent)
            target = find_run(client, experiment, "encore.inputs_hash", run_hash)
    if target is None:
        parent = find_or_create_parent(client, experiment, record["group"]) if record["group"] else None
        tags = entries.identity_tags(record, run_hash) | ({"mlflow.parentRunId": parent} if parent else {})
        started = entries.milliseconds(record["started"])
        return client.create_run(experiment, started, tags | entries.execution_tags(record), entries.run_name(record))
    for name, value in entries.execution_tags(record).items():
        client.set_tag(target.info.run_id, name, value)
    return target


def _send_curves(client: MlflowClient, target: MlflowRun, record: dict[str, Any], path: Path, lines: int) -> None:
    """Sends the parameters and the lines that MLflow does not have yet, in as few requests as they fit into."""
    params = entries.new_params(record, target.data.params)
    tag = f"encore.curve_lines{entries.suffix(record)}"
    sent = int(target.data.tags.get(tag, 0))
    for metrics, count in _batches(path, sent, lines):
        client.log_batch(target.info.run_id, metrics, params[:TAG_BATCH], [entries.tag(tag, str(count))])
        params = params[TAG_BATCH:]
    for start in range(0, len(params), TAG_BATCH):
        client.log_batch(target.info.run_id, params=params[start : start + TAG_BATCH])


def _batches(path: Path, first: int, last: int) -> Iterator[tuple[list[Any], int]]:
    """Metrics of whole lines, at most BATCH of them, with the number of lines of the file that are sent with them."""
    batch: list[Any] = []
    count = first
    for line in read_curves(path, first, last):
        points = entries.curve_points(line)
        if len(batch) + len(points) > BATCH:
            yield batch, count
            batch = []
        batch += points
        count += 1
    if count > first:
        yield batch, count


def _send_datasets(client: MlflowClient, target: MlflowRun, record: dict[str, Any]) -> None:
    known = {
        (item.dataset.name, item.dataset.digest) for item in (target.inputs.dataset_inputs if target.inputs else [])
    }
    inputs = [item for item in entries.datasets(record) if (item.dataset.name, item.dataset.digest) not in known]
    if inputs:
        client.log_inputs(target.info.run_id, inputs)
