"""The commands that make a comparison again: its profile, and what params.yaml has otherwise."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from encore import profiles
from encore.data import local
from encore.tracking.files import read_yaml

DEFAULT = "laptop"  # params.yaml holds it
SECTIONS = ("policy", "g2is")


def command(params: Mapping[str, Any], target: str = "g2is.compare") -> str:
    """What to type in a clone; where the folder of the data is named by the environment, with its variable."""
    changed = overrides(params)
    steps = [f"dvc repro {target}"]
    if changed or params["profile"] != DEFAULT:
        steps.insert(0, shlex.join(["encore", "profile", "use", params["profile"], *changed]))
    data = params["g2is"]["data"]
    if data["source"] == "local" and not data["path"]:
        steps[-1] = f"{local.ENVIRONMENT}=/path/to/data {steps[-1]}"
    return " && ".join(steps)


def overrides(params: Mapping[str, Any], sections: Sequence[str] = SECTIONS) -> list[str]:
    """Where `sections` of `params` are not as its profile has them, as Hydra's overrides.

    Raises UserError for a profile that does not exist.
    """
    with tempfile.TemporaryDirectory(prefix="encore-") as folder:
        own = read_yaml(profiles.compose(params["profile"], output=Path(folder, "params.yaml")))
    stated = {key: value for name in sections for key, value in _leaves(name, own[name])}
    found = []
    for name in sections:
        for key, value in _leaves(name, params[name]):
            if key not in stated or stated[key] != value:
                found.append(f"{'' if key in stated else '+'}{key}={_written(value)}")
    return found


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(f"{name}.{key}", inner)


def _written(value: Any) -> str:
    """As Hydra reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return str(value)
