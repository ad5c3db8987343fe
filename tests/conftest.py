"""Fixtures that every test may use.

The golden recordings are too large, or not ours, to ship. They are looked for in `$ENCORE_SHARED`, else in the folder
`shared` beside the checkout; a test that needs them is skipped, with this reason, where they are absent.
"""

from __future__ import annotations

import json
import lzma
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started with a shell's `&`; tests interrupt what they start
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of whole pipelines first, then those with slow tests: side by side, no long file is left for the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: 2 if item.path not in slow else int("experiments" not in item.path.parts))


@pytest.fixture(autouse=True)
def _environment_stays() -> Iterator[None]:
    """What a test leaves in the environment is not there for the next: TRL names a process's rank there, for one."""
    saved = dict(os.environ)
    yield
    for name in set(os.environ) - set(saved):
        del os.environ[name]
    os.environ.update(saved)


def shared_path(relative: str) -> Path:
    """Path of a golden recording; skips the running test, with a reason, if it is not on this machine."""
    base = Path(os.environ.get("ENCORE_SHARED", ROOT.parent / "shared"))
    path = base / relative
    if not path.exists():
        pytest.skip(f"no golden recordings here: {relative} is neither in $ENCORE_SHARED nor beside the checkout")
    return path


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """`shared("fixtures/alfworld/traces.jsonl.xz")` gives the path or skips the test."""
    return shared_path


@pytest.fixture(scope="session")
def read_jsonl_xz() -> Callable[[Path], list[Any]]:
    """Reads an xz-compressed file with one JSON object a line."""

    def read(path: Path) -> list[Any]:
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    return read
