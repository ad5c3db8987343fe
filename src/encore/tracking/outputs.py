"""What a stage puts into its output beside the model: tables, plots, and the description of its datasets."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore.tracking import provenance
from encore.tracking.files import finite, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSV_ROWS = 2000  # a table beyond this is read by programs, which take the JSONL
SVG_LIMIT_BYTES = 2_000_000  # a scatter of many points is smaller as PNG


def write_table(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Writes `rows` as `<name>.jsonl` in `folder`, and as `.csv` where they are few and flat; returns the JSONL."""
    records = [finite(row) for row in rows]
    path = write_text(
        folder / f"{file_name(name)}.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    )
    flat = all(not isinstance(value, dict | list) for record in records for value in record.values())
    if records and flat and len(records) <= CSV_ROWS:
        columns = list(dict.fromkeys(key for record in records for key in record))
        with (folder / f"{path.stem}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)
    return path


def write_figure(folder: Path, name: str, figure: Figure) -> Path:
    """Writes `figure` as `<name>.svg`, or `.png` where the SVG would be large; returns the path."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    # Without date and with a fixed salt, equal runs draw equal bytes, and DVC sees no change.
    with matplotlib.rc_context({"svg.hashsalt": "encore"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None}, bbox_inches="tight")
    path = folder / f"{file_name(name)}.svg"
    if drawn.tell() > SVG_LIMIT_BYTES:
        path = path.with_name(f"{file_name(name)}.png")
        figure.savefig(path, dpi=150, metadata={"Software": None}, bbox_inches="tight")
    else:
        path.write_bytes(drawn.getvalue())
    return path


def describe_dataset(
    name: str,
    path_or_rows: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    digest: str | None,
    source: str | None,
    context: str,
) -> dict[str, Any]:
    """The entry of a dataset in run.yaml: name, digest (32 characters, MLflow takes 36), source, rows, context."""
    rows: int | None = None
    if isinstance(path_or_rows, str | os.PathLike):
        path = Path(path_or_rows)
        source = source or path.as_posix()
        digest = digest or provenance.content_hash(path)
        if path.suffix == ".jsonl" and path.is_file():
            with path.open("rb") as lines:
                rows = sum(1 for _ in lines)
    else:
        records = [finite(row) for row in path_or_rows]
        rows = len(records)
        digest = digest or provenance.digest(records)
    return {"name": name, "digest": digest[:32], "source": source, "rows": rows, "context": context}


def file_name(name: str) -> str:
    """`name` with only characters that every file system takes."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if not safe:
        raise ValueError(f"{name!r} has no character that a file name may have")
    return safe
