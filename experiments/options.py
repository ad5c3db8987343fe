"""The command line of stages that are cells of a matrix."""

from __future__ import annotations

import argparse
from typing import Any

from encore import configuration


def arguments(description: str | None, *names: str) -> argparse.Namespace:
    """Parses the options of a stage, such as environment, method, seed; all of `names` are required."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    for name in names:
        kind: Any = configuration.seed if name == "seed" else str
        parser.add_argument(f"--{name}", type=kind, required=True)
    return parser.parse_args()
