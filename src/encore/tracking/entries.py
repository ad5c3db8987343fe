"""A run record in MLflow's words: names, tags, parameters, metrics and datasets within MLflow's limits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.tracking.cost import COUNTERS
from encore.tracking.report import flatten_numbers

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, RunTag

# mlflow.utils.validation of MLflow 3: MAX_ENTITY_KEY_LENGTH, MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH
KEY_LENGTH = 250
PARAM_LENGTH = 6000
TAG_LENGTH = 8000
_COST_TOTALS = ("wall_s", "device_h", *COUNTERS, "energy_kwh", "peak_memory_mb", "peak_gpu_memory_mb", "price")


def step_name(record: Mapping[str, Any]) -> str:
    """`train` of the stage `prism.train`."""
    return str(record["stage"]).rpartition(".")[2]


def suffix(record: Mapping[str, Any]) -> str:
    """What tells the tags of a continuing stage from those of the run it adds to: empty, or `.prism.evaluate`."""
    return "" if record["continues"] is None else f".{record['stage']}"


def run_name(record: Mapping[str, Any]) -> str:
    """`sft · seed 0` under a parent, `demos` for a run that has none."""
    group = record["group"]
    name = group.get("method") or (list(group.values())[-1] if group else step_name(record))
    return str(name) if record["seed"] is None else f"{name} · seed {record['seed']}"


def key(name: str) -> str:
    """`name` with the characters MLflow allows, cut to its limit; what is cut keeps apart by a hash."""
    safe = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII).strip("/. ") or "_"
    # MLflow takes names as paths: `a//b` and `a/../b` are refused.
    safe = "/".join(part if part.strip(".") else "_" for part in safe.split("/"))
    return safe if len(safe) <= KEY_LENGTH else f"{safe[: KEY_LENGTH - 9]}~{text_digest(name)[:8]}".replace("~", "_")


def text_digest(text: str) -> str:
    """sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def milliseconds(moment: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def tag(name: str, value: Any) -> RunTag:
    """A tag within the limits; a value that is cut ends in `…`."""
    from mlflow.entities import RunTag

    return RunTag(key(name), cut(str(value), TAG_LENGTH))


def cut(text: str, length: int) -> str:
    """`text` of at most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def identity_tags(record: Mapping[str, Any], run_hash: str) -> dict[str, str]:
    """The tags that find a run again and say what it is; set once, at its creation."""
    tags = {f"encore.{name}": value for name, value in record["group"].items()}
    tags |= {"encore.paper": record["experiment"], "encore.seed": record["seed"], "encore.profile": record["profile"]}
    tags |= {"encore.inputs_hash": run_hash, "mlflow.source.name": record["command"], "mlflow.source.type": "LOCAL"}
    if record["continues"] is None:
        tags["encore.stage"] = record["stage"]
    return {key(name): cut(str(value), TAG_LENGTH) for name, value in tags.items() if value is not None}


def execution_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Which execution of a stage the MLflow run holds."""
    return {f"encore.{name}{suffix(record)}": record[name] for name in ("execution", "started")}


def tags(record: Mapping[str, Any]) -> list[RunTag]:
    """Provenance and the stage's own tags."""
    git, end = record.get("git"), suffix(record)
    found = (
        [] if git is None else [(f"encore.git_commit{end}", git["commit"]), (f"encore.git_dirty{end}", git["dirty"])]
    )
    if git is not None and not end:
        found.append(("mlflow.source.git.commit", git["commit"]))
    found.append((f"encore.command{end}", record["command"]))
    found.append((f"encore.folder{end}", record["out"]))
    if end:
        found.append((f"encore.inputs_hash{end}", record["inputs_hash"]))
    return [tag(name, value) for name, value in (*found, *record["tags"].items())]


def note(folder: Path, record: Mapping[str, Any]) -> list[RunTag]:
    """The model card as MLflow's description of the run."""
    card = folder / "README.md"
    if record["continues"] is not None or not card.is_file():
        return []
    return [tag("mlflow.note.content", card.read_text(encoding="utf-8"))]


def new_params(record: Mapping[str, Any], existing: Mapping[str, str]) -> list[Param]:
    """The parameters that the MLflow run does not have yet.

    MLflow refuses another value under a known name. It occurs where a continuing stage has a parameter of the same
    name: that one is then logged as `<stage>.<name>`.
    """
    from mlflow.entities import Param

    wanted = dict(flatten({"seed": record["seed"], **record["params"]}))
    params: dict[str, str] = {}
    for name, value in wanted.items():
        name, text = key(name), cut(str(value), PARAM_LENGTH)
        if existing.get(name, text) != text or params.get(name, text) != text:
            name = key(f"{record['stage']}.{name}")
        if name not in existing:
            params.setdefault(name, text)
    return [Param(name, text) for name, text in params.items()]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dicts with dotted names; a list is one value, as JSON; `tracking` is about the record and no parameter."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            if prefix or name != "tracking":
                yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list | dict):
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)
        else:
            yield f"{prefix}{name}", value


def curve_points(line: Mapping[str, Any]) -> list[Metric]:
    """The metrics of one line of metrics.jsonl, at its own time, so that a point sent twice is the same point."""
    from mlflow.entities import Metric

    moment = round(line["time_s"] * 1000)
    return [
        Metric(key(name), value, moment, line["step"]) for name, value in line.items() if name not in ("step", "time_s")
    ]


def final_metrics(
    record: Mapping[str, Any], results: Mapping[str, Any], curve_names: Iterable[str], last_step: int
) -> list[Metric]:
    """Results and costs. A result that has a curve's name becomes `result/<name>`, as it is no point of the curve."""
    from mlflow.entities import Metric

    taken, moment = set(curve_names), milliseconds(record["ended"])
    values = {f"result/{name}" if name in taken else name: value for name, value in flatten_numbers(results)}
    values |= cost_metrics(record)
    return [Metric(key(name), value, moment, last_step) for name, value in values.items()]


def cost_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """`cost/wall_s`, `cost/wall_s/<phase>` and so on; `cost/evaluate/wall_s` for a stage that continues another run."""
    prefix = "cost/" if record["continues"] is None else f"cost/{step_name(record)}/"
    costs = record["costs"]
    found = {f"{prefix}{name}": float(costs[name]) for name in _COST_TOTALS if costs.get(name) is not None}
    for phase, values in costs["phases"].items():
        found |= {f"{prefix}{name}/{phase}": float(value) for name, value in values.items()}
    return found


def datasets(record: Mapping[str, Any]) -> list[DatasetInput]:
    """The datasets as MLflow inputs."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    for entry in record["datasets"]:
        profile = None if entry["rows"] is None else json.dumps({"num_rows": entry["rows"]})
        source = json.dumps({"uri": entry["source"] or "in memory"})
        dataset = Dataset(cut(entry["name"], 500), entry["digest"], "local", source, None, profile)
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", entry["context"])]))
    return found
