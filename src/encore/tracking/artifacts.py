"""A run folder's files as MLflow artifacts: sent over what is there, so that twice is as good as once."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.tracking import entries
from encore.tracking.provenance import RESULT_FILE, RUN_FILE

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

ARTIFACTS = (RUN_FILE, RESULT_FILE, "README.md", "tables", "plots")
TABLE_ROWS = 5000  # a longer table is an artifact to download and not one to look at


def send_artifacts(client: MlflowClient, target: MlflowRun, record: dict[str, Any], folder: Path) -> None:
    """Sends run.yaml, results, model card, tables and plots; the model itself only where `tracking.log_models` says so.

    A continuing stage's artifacts lie in a folder of its name: the run it adds to has a run.yaml of its own.
    """
    base = "" if record["continues"] is None else record["stage"]
    run_id = target.info.run_id
    settings = record["params"].get("tracking") or {}
    for name in (*ARTIFACTS, *(("model",) if settings.get("log_models") else ("model/README.md",))):
        path = folder / name
        if path.is_dir():
            client.log_artifacts(run_id, str(path), f"{base}/{name}".strip("/"))
        elif path.is_file():
            client.log_artifact(
                run_id, str(path), "/".join(part for part in (base, *Path(name).parts[:-1]) if part) or None
            )
    send_tables(client, target, folder / "tables", base)


def send_tables(client: MlflowClient, target: MlflowRun, folder: Path, base: str = "") -> None:
    """Sends each tables/<name>.jsonl also in the form that MLflow's log_table shows, replacing what is there.

    `MlflowClient.log_table` would append the rows a second time when it is called again.
    """
    shown: list[dict[str, str]] = json.loads(target.data.tags.get("mlflow.loggedArtifacts", "[]"))
    place = f"{base}/tables".strip("/")
    with tempfile.TemporaryDirectory() as temporary:
        for path in sorted(folder.glob("*.jsonl")):
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            if not rows or len(rows) > TABLE_ROWS:
                continue
            columns = list(dict.fromkeys(key for row in rows for key in row))
            file = Path(temporary) / f"{path.stem}.json"
            data = [[row.get(column) for column in columns] for row in rows]
            file.write_text(json.dumps({"columns": columns, "data": data}, ensure_ascii=False), encoding="utf-8")
            client.log_artifact(target.info.run_id, str(file), place)
            entry = {"path": f"{place}/{file.name}", "type": "table"}
            if entry not in shown:
                shown.append(entry)
    if shown:
        client.log_batch(target.info.run_id, tags=[entries.tag("mlflow.loggedArtifacts", json.dumps(shown))])
