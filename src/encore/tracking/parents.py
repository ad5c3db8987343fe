"""Experiments and parent runs, found by name and tag or made, and the summary over seeds on a parent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.tracking import entries
from encore.tracking.artifacts import send_tables
from encore.tracking.report import flatten_numbers
from encore.tracking.store import artifact_location, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient


def find_or_create_experiment(client: MlflowClient, name: str) -> str:
    """Id of the experiment `name`; one that was deleted is restored."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, artifact_location(tracking_uri(), name)))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def find_run(client: MlflowClient, experiment: str, tag: str, value: str) -> MlflowRun | None:
    """The run that carries `tag`; of several (made at once from two machines) always the oldest."""
    runs = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=10)
    return min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def parent_key(group: Mapping[str, Any]) -> str:
    """`environment=alfworld/method=sft`: the identity of a parent within its experiment."""
    text = "/".join(f"{name}={value}" for name, value in group.items())
    return text.replace("'", "_").replace('"', "_")  # the filter language of search_runs cannot quote them


def find_or_create_parent(client: MlflowClient, experiment: str, group: Mapping[str, Any]) -> str:
    """Run id of the parent of `group`; it is finished from the start, as it runs nothing itself."""
    found = find_run(client, experiment, "encore.parent_key", parent_key(group))
    if found is not None:
        return str(found.info.run_id)
    tags = {entries.key(f"encore.{name}"): entries.cut(str(value), entries.TAG_LENGTH) for name, value in group.items()}
    tags["encore.parent_key"] = parent_key(group)
    made = client.create_run(experiment, tags=tags, run_name=" · ".join(str(value) for value in group.values()))
    client.set_terminated(made.info.run_id, "FINISHED")
    return str(made.info.run_id)


def log_summary(client: MlflowClient, parent: Mapping[str, Any], record: Mapping[str, Any], folder: Path) -> None:
    """Puts one entry of a comparing run's `parents` on the parent run: its numbers, tables and files."""
    from mlflow.entities import Metric

    experiment = find_or_create_experiment(client, parent["experiment"])
    run_id = find_or_create_parent(client, experiment, parent["group"])
    moment = entries.milliseconds(record["ended"])
    for file in parent["files"]:
        client.log_artifact(run_id, str(folder / file))
    tables = [folder / file for file in parent["files"] if Path(file).parts[:2] == ("tables", "parents")]
    if tables:
        send_tables(client, client.get_run(run_id), tables[0].parent)
    metrics = [Metric(entries.key(name), value, moment, 0) for name, value in flatten_numbers(parent["summary"])]
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    client.log_batch(run_id, tags=[entries.tag("encore.compared_by", record["inputs_hash"])])
