"""MAESTRO's stages one after the other in one process of a checkout, which imports torch once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

STAGES = """
import importlib, sys
for line in sys.stdin:
    module, *sys.argv[1:] = line.split()
    importlib.import_module(f"experiments.maestro.{module}").main()
"""


def run_stages(checkout: Any, stages: list[str]) -> subprocess.CompletedProcess[str]:
    """Each of `stages` is a module of experiments.maestro with its options. Raises AssertionError if one fails."""
    (checkout.path / ".stages").write_text("\n".join(stages), encoding="utf-8")
    done: subprocess.CompletedProcess[str] = checkout.run("bash", "-c", f"{sys.executable} -c '{STAGES}' < .stages")
    return done


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
