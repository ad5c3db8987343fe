"""The stages of a paper and their cells, as DVC would resolve dvc.yaml under a profile that is not params.yaml."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from encore import profiles
from encore.errors import UserError

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times as fast where libyaml is
_ITEM = re.compile(r"\$\{\s*item(?:\.(\w+))?\s*\}")


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml.

    Attributes:
        cells: the values of its matrix, one entry a cell; one empty entry for a stage without a matrix.
        command: its command line, with `${item.…}` where a cell's value goes.
    """

    name: str
    description: str
    command: str
    cells: list[dict[str, Any]]

    def command_of(self, cell: Mapping[str, Any]) -> str:
        """The command line of one cell."""
        return _ITEM.sub(lambda found: str(cell.get(found[1] or "item", found[0])), self.command)


def compose(profile: str, overrides: list[str], conf: Path = profiles.CONF) -> dict[str, Any]:
    """The parameters of `profile`, composed aside: params.yaml stays as it is.

    Raises UserError for an unknown profile or an override that Hydra refuses.
    """
    with tempfile.TemporaryDirectory(prefix="encore-plan-") as folder:
        composed = profiles.compose(profile, overrides, output=Path(folder) / "params.yaml", conf=conf)
        return dict(yaml.load(composed.read_text(encoding="utf-8"), Loader=LOADER))


def stages_of(paper: str, params: Mapping[str, Any], pipeline: Path = Path("dvc.yaml")) -> list[Stage]:
    """The stages `<paper>.…` of dvc.yaml in its order, with the cells that `params` give them.

    Raises UserError where dvc.yaml is missing or unreadable, or names a parameter that there is not.
    """
    from dvc.exceptions import DvcException
    from dvc.parsing.context import Context

    try:
        content = yaml.load(pipeline.read_text(encoding="utf-8"), Loader=LOADER)
    except FileNotFoundError as error:
        raise UserError(f"{pipeline} is not here: run this in the folder that holds it") from error
    except yaml.YAMLError as error:
        raise UserError(f"{pipeline} is no YAML: {' '.join(str(error).split())}") from error
    context = Context(dict(params))
    found = []
    for name, body in (content.get("stages") or {}).items():
        if name.partition(".")[0] != paper:
            continue
        definition = body.get("do", body)
        try:
            if "matrix" in body:
                values = {axis: context.resolve(given) for axis, given in body["matrix"].items()}
                cells = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
            elif "foreach" in body:
                each = context.resolve(body["foreach"])
                cells = [dict(one) if isinstance(one, Mapping) else {"item": one} for one in _members(each)]
            else:
                cells = [{}]
        except (DvcException, TypeError) as error:
            raise UserError(
                f"{pipeline}: stage {name}: {' '.join(str(error).split())}: add that to conf/profile, or correct "
                "the stage"
            ) from error
        command = definition.get("cmd", "")
        command = " && ".join(command) if isinstance(command, list) else str(command)
        found.append(Stage(name, str(definition.get("desc", "")), " ".join(command.split()), cells))
    return found


def _members(given: Any) -> list[Any]:
    return list(given.values()) if isinstance(given, Mapping) else list(given)
