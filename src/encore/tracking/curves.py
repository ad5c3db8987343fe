"""metrics.jsonl: one line a step, and a durable point up to which a resumed run keeps them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from encore.errors import UserError
from encore.tracking.files import finite

RESERVED = ("step", "time_s")
MAX_VALUES = 500  # values in one line: MLflow takes 1000 metrics at once, and a line is sent whole


class Curves:
    """Appends lines to `path`; what lies behind the first `keep_bytes` bytes, after the last commit, goes."""

    def __init__(self, path: Path, keep_bytes: int, keep_lines: int) -> None:
        self.path = path
        self._file = path.open("ab")
        if self._file.tell() < keep_bytes:
            raise UserError(
                f"{path} is shorter than at the last commit: delete the folder {path.parent} to start this run anew"
            )
        self._file.truncate(keep_bytes)
        self._file.seek(keep_bytes)
        self.lines = keep_lines

    def append(self, values: Mapping[str, Any], step: int) -> None:
        """Adds `{"step", "time_s", **values}`.

        Raises:
            ValueError: for the keys `step` and `time_s`, a value that is no number, or more than 500 values.
        """
        line: dict[str, Any] = {"step": int(step), "time_s": round(time.time(), 3)}
        if len(values) > MAX_VALUES:
            raise ValueError(
                f"curve() takes at most {MAX_VALUES} values a step; {len(values)} were given: write a table"
            )
        for key, value in values.items():
            if key in RESERVED:
                raise ValueError(f"curve() writes {key!r} itself: give the value another name")
            line[key] = finite(float(value))
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()  # so that `tail -f` shows it; a commit makes it durable
        self.lines += 1

    def commit(self) -> tuple[int, int]:
        """Makes the lines durable; returns (bytes, lines) to be given back on resume."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell(), self.lines

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_curves(path: Path, first: int = 0, last: int | None = None) -> Iterator[dict[str, Any]]:
    """Lines `first` up to, not including, `last` of a metrics.jsonl; values are floats, NaN and infinities included."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file):
            if number >= first and (last is None or number < last):
                line = json.loads(text)
                yield {key: value if key == "step" else float(value) for key, value in line.items()}
