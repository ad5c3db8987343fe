"""Dataclasses as JSON: written in one step, read back field by field, another format refused."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from encore.errors import UserError

FORMAT = 2  # raised when a saved comparison of an older Encore can no longer be read

T = TypeVar("T")


def save(value: Any, path: Path) -> None:
    """Writes the dataclass `value` to `path`; a reader sees the old file or the new one. NaN becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, **_finite(dataclasses.asdict(value))}
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    scratch.replace(path)


def load(kind: type[T], path: Path) -> T:
    """Reads what `save` wrote. Raises UserError on a missing file, another format or a missing field."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: no readable JSON ({error}); run the compare stage first") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a comparison of format {FORMAT}; run the compare stage again")
    del content["format"]
    try:
        return _decode(kind, content)
    except (TypeError, KeyError) as error:
        raise UserError(f"{path}: not a readable comparison ({error}); run the compare stage again") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _decode(kind: type[T], content: dict[str, Any]) -> T:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(content) - set(hints))
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {unknown[0]!r}")
    return kind(**{name: _value(hints[name], value) for name, value in content.items()})


def _value(hint: Any, value: Any) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _decode(hint, value)
    if origin in (types.UnionType, typing.Union):  # only `X | None` occurs here
        return None if value is None else _value(next(kind for kind in inner if kind is not type(None)), value)
    if origin is list:
        return [_value(inner[0], item) for item in value]
    if origin is dict:
        return {key: _value(inner[1], item) for key, item in value.items()}
    return value
