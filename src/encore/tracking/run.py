"""The context of one run: where a stage works, what it records, how that becomes a folder, whole or absent."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from encore.errors import UserError
from encore.tracking import provenance
from encore.tracking.cost import CostMeter
from encore.tracking.curves import Curves
from encore.tracking.files import finite, plain, publish, read_yaml, remove, write_json, write_yaml
from encore.tracking.outputs import describe_dataset, file_name, write_figure, write_table
from encore.tracking.provenance import CURVE_FILE, RESULT_FILE, RUN_FILE
from encore.tracking.report import summary_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOME = Path(".encore")
STATE_FILE = "state.json"
FORMAT = 1  # of run.yaml

_active: Run | None = None


def active() -> Run | None:
    """The run whose `with` block this process is in."""
    return _active


class Run:
    """One run of a stage; made by `encore.tracking.start`, which describes its arguments.

    Attributes:
        work: working folder; it survives a kill, and the same inputs find it again.
        out: staging folder for what becomes the stage's output. On resume it holds what was there at the last commit.
        checkpoints: folder for what a resumed run needs; never part of the output.
        resumed: an earlier session of this run was cut off after a commit.
        checkpoint: the checkpoint that the last commit named, None without one.
        record: what run.yaml will hold.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        stage: str,
        experiment: str,
        group: Mapping[str, Any],
        seed: int | None,
        params: Mapping[str, Any],
        inputs: Iterable[str | os.PathLike[str]],
        continues: str | os.PathLike[str] | None,
        profile: str | None,
    ) -> None:
        self.final = Path(out)
        params, group = plain(params), plain(group)
        hashes = provenance.hash_inputs(inputs)
        earlier = None if continues is None else _continued(Path(continues))
        self.inputs_hash = provenance.inputs_hash(
            stage, params, seed, group, hashes, None if earlier is None else earlier["inputs_hash"]
        )
        self._settings: dict[str, Any] = params.get("tracking") or {}
        self.record: dict[str, Any] = {
            "format": FORMAT,
            "stage": stage,
            "experiment": experiment,
            "group": group,
            "seed": seed,
            "profile": profile if profile is not None else params.get("profile"),
            "inputs_hash": self.inputs_hash,
            "continues": earlier,
            "execution": uuid.uuid4().hex,
            "status": "running",
            "out": self.final.as_posix(),
            "command": provenance.command(),
            "started": _now(),
            "ended": None,
            "sessions": 0,
            "params": params,
            "inputs": hashes,
            "tags": {},
            "datasets": [],
            "parents": [],
        }
        # Absolute: a stage may change its current folder.
        self._home, self._target = HOME.absolute(), self.final.absolute()
        self.work = self._home / "work" / self.inputs_hash
        self.out = self.work / "out"
        self.checkpoints = self.work / "checkpoints"
        self.resumed = False
        self.checkpoint: str | None = None
        self._results: dict[str, Any] = {}

    def __enter__(self) -> Run:
        global _active
        if _active is not None:
            raise RuntimeError(
                f"a run of {_active.record['stage']} is already open in this process: one stage, one run"
            )
        self.work.mkdir(parents=True, exist_ok=True)
        self._lock = (self.work / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UserError(
                f"{self.record['stage']} with these inputs is already running in another process, which holds"
                f" {self.work}: wait for it, or stop it"
            ) from None
        state = self._restore()
        self.out.mkdir(exist_ok=True)
        self.checkpoints.mkdir(exist_ok=True)
        self.curves = Curves(self.work / CURVE_FILE, state.get("curve_bytes", 0), state.get("curve_lines", 0))
        self.record["sessions"] += 1
        self.costs = CostMeter(
            state.get("costs"),
            self._settings.get("devices"),
            self._settings.get("price_per_device_hour"),
            self._settings.get("country"),
        )
        self.record |= {"git": provenance.git_state(), "versions": provenance.package_versions()}
        from encore.tracking.delivery import Delivery

        self._delivery = Delivery(self._settings.get("mlflow"), self._home)
        _active = self
        return self

    def _restore(self) -> dict[str, Any]:
        """State of the last commit. What the killed session wrote into `out` after it goes: it may be half a file."""
        path = self.work / STATE_FILE
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        kept = set(state.get("staged", []))
        for file in [file for file in self.out.rglob("*") if file.is_file() or file.is_symlink()]:
            if file.relative_to(self.out).as_posix() not in kept:
                file.unlink()
        if state:
            self.resumed = True
            self.checkpoint = state.get("checkpoint")
            self._results = state["results"]
            self.record |= state["record"]
        return state

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _active
        _active = None
        try:
            if error is None:
                self._finish()
            else:
                self.costs.stop()
                self.curves.close()
                killed = not isinstance(error, Exception)  # KeyboardInterrupt, SystemExit
                self._delivery.mark(self, "KILLED" if killed else "FAILED")
        finally:
            self._lock.close()

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Counts the time of the `with` block as phase `name` of the costs; phases do not nest."""
        return self.costs.phase(name)

    def count(
        self,
        *,
        tokens_trained: float = 0,
        tokens_generated: float = 0,
        environment_steps: float = 0,
        flops: float = 0,
    ) -> None:
        """Adds to the run's counters."""
        self.costs.count(
            tokens_trained=tokens_trained,
            tokens_generated=tokens_generated,
            environment_steps=environment_steps,
            flops=flops,
        )

    def curve(self, values: Mapping[str, Any], step: int) -> None:
        """Adds one line to metrics.jsonl: numbers by name at `step`."""
        self.curves.append(values, step)

    def result(self, values: Mapping[str, Any]) -> None:
        """Adds to metrics.json; nested dicts are allowed, and their numbers become MLflow metrics with dotted names."""
        self._results.update(finite(values))

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Writes `rows` to tables/<name>.jsonl (and .csv where small) of the output; returns the JSONL's path."""
        return write_table(self.out / "tables", name, rows)

    def figure(self, name: str, figure: Figure) -> Path:
        """Writes a matplotlib figure to plots/<name>.svg of the output, or .png where the SVG would be large."""
        return write_figure(self.out / "plots", name, figure)

    def dataset(
        self,
        name: str,
        path_or_rows: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
        digest: str | None = None,
        source: str | None = None,
        context: str = "training",
    ) -> None:
        """Records a dataset that this run used; MLflow shows it as an input of the run.

        Args:
            name: what people call it.
            path_or_rows: a file or folder, or the rows themselves.
            digest: version of the contents; default: their sha256.
            source: where it comes from (path, address, generator); default: the path.
            context: training, validation or test.
        """
        entry = describe_dataset(name, path_or_rows, digest, source, context)
        if entry not in self.record["datasets"]:
            self.record["datasets"].append(entry)

    def tag(self, tags: Mapping[str, Any]) -> None:
        """Adds tags to the run, as text."""
        self.record["tags"].update({str(key): str(value) for key, value in tags.items()})

    def parent(
        self,
        experiment: str,
        group: Mapping[str, Any],
        summary: Mapping[str, Any],
        tables: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
        artifacts: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        """Records what stands on the parent run of `group`; see `encore.tracking.log_parent`."""
        folder = self.out / "tables" / "parents" / file_name(".".join(str(value) for value in group.values()))
        files = [write_table(folder, name, rows) for name, rows in (tables or {}).items()]
        for artifact in map(Path, artifacts):
            if not artifact.is_relative_to(self.out):
                raise ValueError(
                    f"the artifact {artifact} is not under the run's out folder {self.out}: write it there"
                )
            files.append(artifact)
        entry = {
            "experiment": experiment,
            "group": plain(group),
            "summary": finite(summary),
            "files": [file.relative_to(self.out).as_posix() for file in files],
        }
        same = [e for e in self.record["parents"] if (e["experiment"], e["group"]) == (experiment, entry["group"])]
        self.record["parents"] = [e for e in self.record["parents"] if e not in same] + [entry]

    def commit(self, checkpoint: str | None = None) -> None:
        """A durable point: call it right after a checkpoint is saved.

        `checkpoint` names what was saved. A resumed run finds it as `self.checkpoint`, and has to go on from there even
        if a later one is on disk: that one was saved by a session that was killed before it could commit.

        A run that is killed later resumes with the costs, curves, results and staged files of this moment. Committed
        curves go to MLflow, if it can be reached.
        """
        curve_bytes, curve_lines = self.curves.commit()
        record = {key: self.record[key] for key in ("execution", "started", "sessions", "tags", "datasets", "parents")}
        staged = [file.relative_to(self.out).as_posix() for file in self.out.rglob("*") if file.is_file()]
        costs = self.costs.totals()
        state = {
            "curve_bytes": curve_bytes,
            "curve_lines": curve_lines,
            "costs": costs,
            "results": self._results,
            "record": record,
            "staged": sorted(staged),
            "checkpoint": checkpoint,
        }
        write_json(self.work / STATE_FILE, state)
        with self.costs.aside("tracking"):
            self._delivery.push_curves(self, curve_lines)

    def write_record(self, folder: Path, **changes: Any) -> None:
        """Writes run.yaml into `folder`."""
        self.record |= changes
        write_yaml(folder / RUN_FILE, self.record)

    def _finish(self) -> None:
        self.curves.commit()
        self.curves.close()
        shutil.copyfile(self.curves.path, self.out / CURVE_FILE)  # a copy: killed here, the run still resumes
        write_json(self.out / RESULT_FILE, self._results)
        costs = self.costs.totals(final=True)
        self.write_record(self.out, status="finished", ended=_now(), hardware=provenance.hardware(), costs=costs)
        publish(self.out, self._target)
        remove(self.work)
        note = self._delivery.deliver(self)
        print(summary_line(self._target, self.final, self.record, self._results, note), flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _continued(folder: Path) -> dict[str, str]:
    path = folder / RUN_FILE
    if not path.is_file():
        raise UserError(f"{folder} is no finished run (it has no {RUN_FILE}): run the stage that makes it first")
    return {"folder": folder.as_posix(), "inputs_hash": read_yaml(path)["inputs_hash"]}
