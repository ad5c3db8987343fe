"""The official data, by ALFWorld's own downloader."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def download(path: str | Path) -> Path:
    """Fetches the official games (about 2 GB) into `path` with `alfworld-download`; returns the folder.

    The folder can then be passed to `load_games` or set as ALFWORLD_DATA. Raises RuntimeError, in one line, if the
    package is absent or the download fails; what has arrived is used again by the next call.
    """
    script = _script()
    if script is None:
        raise RuntimeError("alfworld-download is not installed: pip install 'encore[textworld]'")
    target = Path(path).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, script, "--data-dir", str(target)]
    last = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        traceback = False
        for line in process.stderr:
            traceback = traceback or line.startswith("Traceback")
            if not traceback:  # the progress bars, each update a line of its own here
                print(line.rstrip(), end="\r", file=sys.stderr)
            last = line.strip() or last
    if process.returncode:
        raise RuntimeError(f"alfworld-download into {target} failed, is there a network? {last[:200]}")
    return target


def _script() -> str | None:
    beside = Path(sys.executable).with_name("alfworld-download")
    return str(beside) if beside.exists() else shutil.which("alfworld-download")
