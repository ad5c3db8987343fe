"""A copy of the checkout in which the pipeline may run: what git tracks or would track, nothing that was computed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from encore import profiles

ROOT = Path(__file__).resolve().parents[2]
THREE_ARMS = ("prism.methods=[base,sft,prism_gini]", "prism.environments=[alfworld]")


@dataclass
class Checkout:
    """A checkout and how to run commands in it as a user would."""

    path: Path

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.path, env=self.environment(**environment), capture_output=True, text=True, timeout=580
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done

    def environment(self, **extra: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(self.path / folder) for folder in ("src", "envs", "")),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "ENCORE_TRACK": "off",
            **extra,
        }

    def compose(self, *overrides: str, profile: str = "smoke") -> None:
        profiles.compose(profile, list(overrides), self.path / "params.yaml", self.path / "conf")

    def stages_run(self, output: str) -> list[str]:
        """Of what DVC printed, or `make repro`, which names the environment before each line."""
        return re.findall(r"^(?:\w+ *\| )?Running stage '(.+?)'", output, re.MULTILINE)


def copy_checkout(target: Path) -> Checkout:
    """The working tree's files, committed to a repository of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in listed.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    checkout = Checkout(target)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"]):
        checkout.run("git", *command)
    return checkout


@pytest.fixture(scope="session")
def checkout_factory(tmp_path_factory):
    """Call it with a name for a fresh copy."""
    return lambda name: copy_checkout(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def finished(checkout_factory) -> Checkout:
    """A checkout in which `make repro` has run the smoke profile, three arms in ALFWorld; do not change its outputs."""
    checkout = checkout_factory("finished")
    checkout.compose(*THREE_ARMS)
    checkout.run(sys.executable, "-m", "experiments.repro", ENCORE_TRACK="deferred")
    return checkout
