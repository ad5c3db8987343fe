"""A paper's comparison and the record of every run behind it, in a folder small enough for git.

    python -m experiments.export prism results/laptop/prism

writes what the stage `compare` made (tables, page's data, figures), its record `run.yaml`, and `runs.jsonl`: a line for
every other run, with its parameters, versions, commit, inputs and costs. Episodes, weights and the rest stay where they
are. Files of an earlier export are replaced; a README.md in the folder stays.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from encore import tracking
from encore.errors import UserError
from encore.tracking.files import read_yaml

RUNS = Path("runs")
RECORDS = "runs.jsonl"
LEFT_OUT = {"report.html", "metrics.json", "metrics.jsonl"}  # the page is made of what stays


def export(paper: str, folder: Path, runs: Path = RUNS) -> list[Path]:
    """Writes the export and returns its files. Raises UserError if the comparison is not there."""
    compared = runs / paper / "compare"
    if not (compared / "run.yaml").is_file():
        raise UserError(f"{compared} holds no comparison: run `make repro TARGET={paper}.compare`")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sorted(path for path in (*compared.iterdir(), *compared.glob("plots/*")) if path.is_file()):
        if source.name in LEFT_OUT:
            continue
        written.append(Path(shutil.copyfile(source, folder / source.name)))
    records = sorted(path for path in (runs / paper).rglob("run.yaml") if compared not in path.parents)
    lines = [json.dumps(read_yaml(path), default=str, ensure_ascii=False) for path in records]
    written.append(folder / RECORDS)
    written[-1].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return written


@tracking.stage_main
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paper")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    written = export(options.paper, options.folder)
    size = sum(path.stat().st_size for path in written)
    print(f"{options.folder}: {len(written)} files, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
