"""`encore plan PAPER`: a dry run of a profile."""

from __future__ import annotations

import argparse
import os
import sys


def command(parsed: argparse.Namespace) -> int:
    """Prints the plan of a paper; `--json` for machines. Works on this machine's files alone."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before any library reads it: a plan fetches nothing
    from encore.planning import plan, text

    def say(line: str) -> None:
        print(f"encore plan: {line}", file=sys.stderr, flush=True)

    made = plan.make(parsed.paper, parsed.profile, parsed.overrides, build=not parsed.no_build, progress=say)
    print(text.as_json(made) if parsed.json else text.as_text(made), end="")
    return 0
