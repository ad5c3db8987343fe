"""DVC that reads and writes YAML quicker: `python -m experiments.quick_dvc repro …`, as `dvc repro …`.

After every stage DVC reads dvc.lock and writes it anew, by a parser in Python that keeps comments: some 5 s of
processor time for the hundred stages of a paper, longer than many a stage of the tiny base. A lock has no comments.
Here the same library reads and writes it with its parser in C; the content is the same. And params.yaml, which DVC
parses twice for every stage, is parsed once. Everything else is DVC, unchanged.
"""

from __future__ import annotations

import copy
import functools
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

LOCK = "dvc.lock"


def quick(slow: Callable[..., AbstractContextManager[Any]]) -> Callable[..., AbstractContextManager[Any]]:
    """DVC's `modify_yaml` (read, let the caller change, write), quick for a lock and as it is for other files."""

    @contextmanager
    def modify_yaml(path: str, fs: Any = None) -> Iterator[Any]:
        file = Path(path)
        if file.name != LOCK:
            with slow(path, fs=fs) as data:
                yield data
            return
        yaml: Any = YAML(typ="safe")
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # in the order in which DVC gives it
        data = (yaml.load(file.read_text(encoding="utf-8")) if file.exists() else None) or {}
        yield data
        text = io.StringIO()
        yaml.dump(_plain(data), text)
        file.write_text(text.getvalue(), encoding="utf-8")

    return modify_yaml


def _plain(data: Any) -> Any:
    """Without the classes of DVC, which the quick writer does not know."""
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(value) for value in data] if isinstance(data, list | tuple) else data


def once(slow: Callable[..., Any]) -> Callable[..., Any]:
    """DVC's `parse_yaml`, which parses the same text once; every caller gets a copy of its own."""

    @functools.lru_cache(maxsize=8)
    def parsed(text: str, path: str, typ: str) -> Any:
        return slow(text, path, typ=typ)

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        return copy.deepcopy(parsed(text, path, typ)) if typ == "safe" else slow(text, path, typ=typ)

    return parse_yaml


def main() -> int:
    from dvc import dvcfile
    from dvc.cli import main as dvc
    from dvc.utils.serialize import _yaml

    _yaml.parse_yaml = once(_yaml.parse_yaml)
    dvcfile.modify_yaml = quick(dvcfile.modify_yaml)
    return int(dvc(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
