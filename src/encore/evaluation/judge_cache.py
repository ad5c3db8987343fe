"""Answers of a judge on disk: one JSON line each, only ever appended, found again by the hash of what was asked."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from encore.errors import UserError


class AnswerCache:
    """The file is read once; every `add` is on disk when it returns. `path` None keeps answers in memory alone.

    A last line that was cut by a kill is taken off. Several processes may append to one file: each line is written
    whole, under the file's lock. Raises UserError for a file with a line that is none of this cache.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._answers: dict[str, dict[str, Any]] = {}
        self._mutex = threading.Lock()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked() as file:
                self._read(file)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: str) -> dict[str, Any] | None:
        """The record stored first under `key`, None without one."""
        return self._answers.get(key)

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Keeps `record`, which JSON must be able to hold, unless there is one under `key`."""
        line = json.dumps({"key": key, **record}, ensure_ascii=False) + "\n"
        with self._mutex:
            if key in self._answers:
                return
            if self.path is not None:
                with self._locked() as file:
                    file.write(line.encode())
            self._answers[key] = record

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        assert self.path is not None
        with self.path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _read(self, file: BinaryIO) -> None:
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                record = json.loads(line)
                key = record.pop("key")
            except (ValueError, AttributeError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self.path}, line {number}, is no judge's answer: name another file for the cache, or take the "
                    "line out"
                ) from error
            self._answers.setdefault(key, record)
