"""The way to MLflow: where it is, whether it answers, and one writer at a time.

`import mlflow` takes 1.4 to 3 s and MLflow waits 20 s for a locked SQLite file, so what can be known without it is
found out first: whether a server accepts connections, whether the database takes a writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DEFAULT_URI = "sqlite:///mlflow.db"
CONNECT_TIMEOUT_S = 3.0
LOCK_TIMEOUT_S = 60.0  # another Encore process that sends its queue holds the lock for as long as that takes
DATABASE_TIMEOUT_S = 3.0


class Unreachable(Exception):
    """MLflow cannot take anything now; the message is one line. What was to be sent stays in the run's folder."""


def tracking_uri() -> str:
    """$MLFLOW_TRACKING_URI, else the SQLite file mlflow.db in the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def sqlite_path(uri: str) -> Path | None:
    """The database file of a SQLite address (three slashes: below the current folder); None for other addresses."""
    if not uri.startswith("sqlite:"):
        return None
    return Path(unquote(urlsplit(uri).path).removeprefix("/")).absolute() if ":///" in uri else None


def artifact_location(uri: str, experiment: str) -> str | None:
    """Where a new experiment keeps its artifacts: beside a SQLite file; a server decides itself."""
    path = sqlite_path(uri)
    return None if path is None else (path.parent / "mlartifacts" / experiment).as_uri()


@contextlib.contextmanager
def session(home: Path) -> Iterator[MlflowClient]:
    """An MLflow client, with no other Encore process writing meanwhile.

    Args:
        home: Encore's folder, for the lock file where MLflow is a server.

    Raises:
        Unreachable: MLflow does not answer, is locked, or refuses.
    """
    uri = tracking_uri()
    _check(uri)
    path = sqlite_path(uri)
    with _writer_lock(path.with_name(f"{path.name}.lock") if path else home / "mlflow.lock"):
        try:
            with _quiet():
                if path is not None and not path.exists():
                    _make(path)
                yield _client(uri if path is None else f"sqlite:///{path}")
        except Exception as error:
            if not _is_delivery_error(error):
                raise
            raise Unreachable(_first_line(error)) from error


def _check(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme in {"http", "https"} and parts.hostname:
        if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname):
            return  # only the proxy can say whether the server is there
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname, port), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise Unreachable(f"{parts.scheme}://{parts.hostname}:{port}: {error.strerror or error}") from error
    path = sqlite_path(uri)
    if path is not None and path.is_file():
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=DATABASE_TIMEOUT_S)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise Unreachable(f"{path}: {error}") from error


@contextlib.contextmanager
def _writer_lock(path: Path) -> Iterator[None]:
    """Find-or-create, of a store or a run, must not happen twice at once, and MLflow does not see to that."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}") from error
    with file:
        deadline_s = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise Unreachable(
                        f"{path} has been held by another Encore process for {LOCK_TIMEOUT_S:.0f} s"
                    ) from None
                time.sleep(0.1)
        yield


def _make(path: Path) -> None:
    """MLflow's tables in a new SQLite file, which is there whole or not at all.

    MLflow makes table after table, for seconds; a file that was cut in between it can neither use nor complete.
    """
    from encore.tracking.mlflow_client import MlflowClient

    part = path.with_name(f"{path.name}.new")
    part.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{part}").search_experiments(max_results=1)
    part.replace(path)


@lru_cache(maxsize=4)
def _client(uri: str) -> MlflowClient:
    from encore.tracking.mlflow_client import MlflowClient

    return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MLflow logs a traceback for what is told here in one line."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)


def _is_delivery_error(error: Exception) -> bool:
    if isinstance(error, OSError):  # requests' exceptions are OSErrors too
        return True
    module = type(error).__module__.partition(".")[0]
    return module in {"mlflow", "sqlalchemy", "alembic", "sqlite3"}


def _first_line(error: Exception) -> str:
    text: Any = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= 200 else f"{line[:197]}..."
