"""params.yaml as dataclasses: read once, validated once, with errors that name the key and the way out."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from encore.errors import UserError

T = TypeVar("T")


def read(keys: Sequence[str], path: Path | str = "params.yaml") -> dict[str, Any]:
    """The part of params.yaml under the dotted `keys`, nested as there.

    A stage reads exactly the keys that dvc.yaml lists for it, so that nothing it depends on can change unseen.
    Raises UserError if the file or a key is missing.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is not here: run stages from the folder that holds dvc.yaml") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    chosen: dict[str, Any] = {}
    for key in keys:
        source, target = content, chosen
        *parents, last = key.split(".")
        for depth, name in enumerate([*parents, last]):
            if not isinstance(source, Mapping) or name not in source:
                raise UserError(f"{path} has no '{key}': add it, or compose the file anew with `make profile`")
            source = source[name]
            if depth < len(parents):
                target = target.setdefault(name, {})
        target[last] = source
    return chosen


def build(kind: type[T], values: Mapping[str, Any], name: str) -> T:
    """An instance of the dataclass `kind` from a mapping; `name` is the mapping's key in params.yaml.

    Raises UserError for a key that `kind` lacks, or a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise UserError(f"{name}.{unknown[0]} is no setting: choose from {', '.join(fields)}")
    return kind(**{key: _checked(hints[key], value, f"{name}.{key}") for key, value in values.items()})


def _checked(hint: Any, value: Any, name: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise UserError(f"{name} is {value!r}: it must be a section")
        return build(hint, value, name)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        return _checked(next(kind for kind in inner if kind is not type(None)), value, name)
    if origin is typing.Literal:
        if value not in inner:
            raise UserError(f"{name} is {value!r}: choose from {', '.join(map(str, inner))}")
        return value
    expected = origin or hint
    if expected is Any:
        return value
    if expected is float:
        # YAML reads 3e-4 as text: it wants a point and a sign (3.0e-4).
        try:
            if not isinstance(value, bool):
                return float(value)
        except (TypeError, ValueError):
            pass
        raise UserError(f"{name} is {value!r}: it must be a number")
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise UserError(f"{name} is {value!r}: it must be of type {expected.__name__}")
    if expected is list:
        return [_checked(inner[0], item, f"{name}[{index}]") for index, item in enumerate(value)]
    if expected is dict:
        return {key: _checked(inner[1], item, f"{name}.{key}") for key, item in value.items()}
    return value


def seed(value: str) -> int:
    """Type of the command-line option `--seed`. Raises UserError for anything but a whole number from 0."""
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0:
        raise UserError(f"seed {value} is no seed: give whole numbers from 0 in params.yaml (seeds)")
    return number
