"""Profiles: the scales of conf/profile, composed by Hydra into params.yaml, exactly as `dvc exp run` composes them."""

from __future__ import annotations

import argparse
from pathlib import Path

from encore.errors import UserError

CONF, PARAMS = Path("conf"), Path("params.yaml")


def names(conf: Path = CONF) -> list[str]:
    """The profiles that there are."""
    return sorted(path.stem for path in (conf / "profile").glob("*.yaml"))


def compose(profile: str, overrides: list[str] | None = None, output: Path = PARAMS, conf: Path = CONF) -> Path:
    """Writes the parameters of `profile` to `output` and returns it; `overrides` are Hydra's, as `prism.seeds=[0]`.

    Raises UserError for a profile that does not exist or an override that Hydra refuses.
    """
    if not conf.is_dir():
        raise UserError(f"there is no folder {conf}: run this in the folder that holds dvc.yaml")
    if profile not in names(conf):
        raise UserError(f"unknown profile '{profile}': choose from {', '.join(names(conf))}")
    from dvc.utils.hydra import compose_and_dump
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    scratch = output.with_name(f".{output.name}")
    try:
        compose_and_dump(
            scratch,
            str(conf.resolve()),
            None,
            "config",
            str(conf.resolve()),
            [f"profile={profile}", *(overrides or [])],
        )
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{' '.join(str(error).split())}: correct the override") from error
    return scratch.replace(output)


def command(parsed: argparse.Namespace) -> int:
    """`encore profile use NAME [key=value …]`."""
    path = compose(parsed.name, parsed.overrides)
    print(f"{path} now holds profile '{parsed.name}': `make repro` (or `dvc repro`) runs it")
    return 0
