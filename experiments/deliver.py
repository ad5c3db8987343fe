"""Sends queued runs to MLflow while others are made: `python -m experiments.deliver`, which `make repro` starts.

A short run leaves a note in the queue for a longer one to send it along (`encore.tracking.delivery`). Where a paper has
hundreds of short runs, all of them would wait for its end, and its end for them. Here they go while DVC, between two
stages, leaves a core idle, and the MLflow UI shows them as they come.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from encore.tracking.delivery import queued
from encore.tracking.run import HOME

LOOK_S = 5.0
AT_ONCE = 10
"""Runs that are sent before a stage that waits for MLflow gets its turn."""
NICENESS = 10


def deliver(home: Path) -> bool:
    """Sends some of what is queued; whether any of it left the queue, which a run that cannot be read does not."""
    from encore.tracking import mlflow_sync

    before = {note for note, _ in queued(home)}
    mlflow_sync.sync_pending(home, AT_ONCE)
    return bool(before - {note for note, _ in queued(home)})


def main() -> None:
    """Until it is ended, or MLflow takes nothing."""
    os.nice(NICENESS)
    while True:
        try:
            busy = bool(queued(HOME)) and deliver(HOME)
        except Exception:  # the notes stay, and the next stage that sends says what is wrong
            return
        if not busy:
            time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
