"""When a run goes to MLflow, and what happens if it cannot.

Sending one run takes 2 to 4 s on two cores, nearly all of it `import mlflow` and opening the store; each further run
0.05 to 0.3 s. So, by default, a run that took less than SEND_AFTER_S leaves a note in the queue `.encore/pending`, and
the next longer run, or the comparison at the end of a paper, sends it along. A run that could not be sent leaves the
same note.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from encore.errors import UserError
from encore.tracking.store import Unreachable

if TYPE_CHECKING:
    from encore.tracking.run import Run

MODES = ("auto", "on", "deferred", "off")
SEND_AFTER_S = 20.0
CURVES_EVERY_S = 10.0
PENDING = "pending"


class Delivery:
    """Decides, for one run, what is sent to MLflow and when; warns once if MLflow cannot be reached.

    Args:
        mode: auto (default); on: every run is sent at its end; deferred: none is, until `encore track sync`; off: none
            is, and none is queued. $ENCORE_TRACK, where set, comes first.
        home: Encore's folder.
    """

    def __init__(self, mode: str | None, home: Path) -> None:
        mode = os.environ.get("ENCORE_TRACK") or mode or "auto"
        if mode not in MODES:
            raise UserError(
                f"ENCORE_TRACK (or tracking.mlflow in params.yaml) is {mode!r}; it is one of {', '.join(MODES)}"
            )
        self.mode = mode
        self.home = home
        self._began_s = time.monotonic()
        self._pushed_s = self._began_s
        self._begun = False
        self._warned = False

    def push_curves(self, run: Run, lines: int) -> None:
        """Sends committed curves while the run goes on; at most every CURVES_EVERY_S, and not from a short run."""
        now_s = time.monotonic()
        if self._warned or self.mode in {"off", "deferred"}:
            return
        if self.mode == "auto" and now_s - self._began_s < SEND_AFTER_S:
            return
        if self._begun and now_s - self._pushed_s < CURVES_EVERY_S:
            return
        run.write_record(run.work)
        from encore.tracking import mlflow_sync

        try:
            mlflow_sync.push_running(run.work, lines, self.home)
        except Exception as error:  # no trouble with MLflow, not even a defect here, may end a training
            self._warn(error)
            return
        self._begun, self._pushed_s = True, time.monotonic()

    def mark(self, run: Run, status: str) -> None:
        """Ends the MLflow run of a failed or stopped run, if it has begun."""
        if not self._begun or self._warned:
            return
        from encore.tracking import mlflow_sync

        try:
            mlflow_sync.end_running(run.work, status, self.home)
        except Exception as error:  # it would hide the error that ended the run
            self._warn(error)

    def deliver(self, run: Run) -> str:
        """Sends the finished run and what is queued, or queues it; returns the words for the summary line."""
        if self.mode == "off":
            return "MLflow: off"
        took_s = run.record["costs"]["wall_s"]
        closes = bool(run.record["parents"])
        short = self.mode == "auto" and not closes and took_s < SEND_AFTER_S and not self._begun
        sent = None
        try:
            queue(self.home, run.inputs_hash, run.final)
            if not (self._warned or short or self.mode == "deferred"):
                from encore.tracking import mlflow_sync

                outcomes = mlflow_sync.sync_pending(self.home)
                sent = sum(outcome.status == "sent" for outcome in outcomes)
        except Exception as error:  # the output stands: exit status 1 would make DVC delete and repeat it
            self._warn(error)
        return "MLflow: queued" if sent is None else f"MLflow: sent {sent} run{'' if sent == 1 else 's'}"

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = str(error) if isinstance(error, Unreachable) else f"{type(error).__name__}: {error}"
            reason = reason.splitlines()[0]
            print(
                f"encore: MLflow cannot be reached ({reason}); nothing is lost, `encore track sync` sends it later",
                file=sys.stderr,
            )


def queue(home: Path, inputs_hash: str, folder: Path) -> None:
    """Notes that the run in `folder` is to be sent."""
    note = home / PENDING / inputs_hash
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{folder.as_posix()}\n", encoding="utf-8")


def queued(home: Path) -> list[tuple[Path, Path]]:
    """(note, run folder) of every queued run, oldest first."""
    found = []
    for note in (home / PENDING).glob("*") if (home / PENDING).is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # another process has sent it since
            # The notes name folders as seen from the checkout, which holds `home`.
            folder = home.parent / note.read_text(encoding="utf-8").strip()
            found.append((note.stat().st_mtime_ns, note, folder))
    return [(note, folder) for _, note, folder in sorted(found)]
