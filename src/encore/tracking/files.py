"""Files that are whole or absent: atomic writes, and the move of a finished folder into its final place."""

from __future__ import annotations

import glob
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def plain(value: Any) -> Any:
    """`value` with only JSON's types: paths become text, tuples and sets lists, NumPy and Torch scalars numbers.

    Raises:
        TypeError: for a value that has no obvious text, such as a model.
    """
    if value is None or isinstance(value, bool | int | float | str):
        # A subclass (an enum of str, numpy.float64) would be written with its own class by YAML.
        kind = next((k for k in (bool, int, float, str) if isinstance(value, k)), None)
        return value if kind is None else kind(value)  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, Sequence | Iterable) and not isinstance(value, bytes) and not hasattr(value, "item"):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy and Torch, arrays and scalars
        return plain(value.tolist())
    raise TypeError(
        f"{value!r} ({type(value).__name__}) cannot be written to a run's files: give numbers, text, lists or dicts"
    )


def finite(value: Any) -> Any:
    """`plain(value)` with NaN and infinities as the text "NaN", "Infinity", "-Infinity", which strict JSON needs."""
    value = plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value


def write_text(path: Path, text: str) -> Path:
    """Writes `text` so that a reader, even after a power cut, sees the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, value: Any) -> Path:
    """Writes `value` as indented, strict JSON, atomically."""
    return write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_yaml(path: Path, value: Any) -> Path:
    """Writes `value` as YAML in the given key order, atomically."""
    return write_text(path, yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, width=120))


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file whose top is a mapping, with the C parser where PyYAML has it: ten times faster."""
    with path.open(encoding="utf-8") as file:
        value = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}, not a mapping")
    return value


def publish(staged: Path, final: Path) -> None:
    """Moves the folder `staged` to `final`, which then is the new folder, whole; before, it is the old one or absent.

    A folder that stood at `final` is moved aside first and deleted last. On another file system than `staged`, the
    folder is copied beside `final` first, so that the last step is a rename there too.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex[:8]
    aside = final.with_name(f".{final.name}.old-{token}")
    copied = final.with_name(f".{final.name}.new-{token}")
    replaced = final.is_symlink() or final.exists()
    try:
        if staged.stat().st_dev != final.parent.stat().st_dev:
            shutil.copytree(staged, copied)
            staged = copied
        if replaced:
            final.rename(aside)
        try:
            staged.replace(final)
        except OSError:
            if replaced:
                aside.rename(final)
            raise
    finally:
        remove(copied)
    for left in final.parent.glob(f".{glob.escape(final.name)}.old-*"):  # ours, and that of a run killed right here
        remove(left)


def remove(path: Path) -> None:
    """Deletes a file, a link or a folder, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
