"""Where a result comes from: hashes of what went in, the code, the packages, the machine, the command."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from encore.errors import UserError
from encore.tracking.files import plain

RUN_FILE = "run.yaml"
CURVE_FILE = "metrics.jsonl"
RESULT_FILE = "metrics.json"
# A run folder that is the input of a later stage: these two hold clock times, so they differ between equal runs.
_CLOCK_FILES = {RUN_FILE, CURVE_FILE}


def digest(value: Any) -> str:
    """sha256 of `value` as canonical JSON (sorted keys), 64 hexadecimal digits."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's bytes, or of a folder's sorted relative names and their files' hashes.

    In a folder that is a run (it holds run.yaml), run.yaml and metrics.jsonl do not count: they hold times, and two
    equal runs are the same input.

    Raises:
        UserError: if nothing is at `path`.
    """
    root = Path(path)
    if root.is_file():
        return _file_hash(root)
    if not root.is_dir():
        raise UserError(f"the input {root} does not exist: run the stage that makes it first (`dvc repro` does)")
    skipped = _CLOCK_FILES if (root / RUN_FILE).is_file() else set()
    total = hashlib.sha256()
    for file in sorted(file for file in root.rglob("*") if file.is_file()):
        name = file.relative_to(root).as_posix()
        if name not in skipped:
            total.update(f"{name}\0{_file_hash(file)}\n".encode())
    return total.hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inputs_hash(
    stage: str,
    params: Mapping[str, Any],
    seed: int | None,
    group: Mapping[str, Any],
    inputs: Mapping[str, str],
    continues: str | None,
) -> str:
    """The name of a run: sha256 over stage, parameters, seed, group, the inputs' hashes, the run continued.

    `params["tracking"]` does not count: a price or a country changes how a run is reported and not what it computes.
    """
    counted = {key: value for key, value in params.items() if key != "tracking"}
    # The contents count and the paths do not: a moved folder is the same input.
    return digest([stage, counted, seed, group, list(inputs.values()), continues])


def git_state(folder: str | os.PathLike[str] = ".") -> dict[str, Any] | None:
    """`{"commit", "dirty"}` of the checkout around `folder`; None outside a checkout or without git.

    dvc.lock does not count as dirt: `dvc repro` itself rewrites it after every stage.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False
            )
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--", ":/", ":(top,exclude)dvc.lock"))}


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Versions of Python, Encore and every installed package that Encore names as a dependency."""
    versions = {"python": platform.python_version()}
    names = ["encore", *(importlib.metadata.requires("encore") or [])]
    for requirement in names:
        if re.search(r"extra == .dev", requirement):
            continue  # linters and test tools make no result
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that this machine does not have: its absence is the record
    return versions


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory, and the GPUs that this process has used through Torch."""
    found: dict[str, Any] = {
        "machine": platform.platform(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20),
        "gpus": [],
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        found["cuda"] = torch.version.cuda
    return found


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def command() -> str:
    """The command line of this process, quoted so that a shell runs it again."""
    return shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]])


def hash_inputs(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Content hash by path, in the order given."""
    return {os.fspath(path): content_hash(path) for path in paths}
