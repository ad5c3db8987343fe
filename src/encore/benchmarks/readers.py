"""Rows of the published benchmarks, from a folder of their files or from the hub; sizes are asserted.

The tests of the hub run against a stand-in: its columns are those of its public users, and no row of its own was at
hand.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.benchmarks.items import SPLITS, Item
from encore.benchmarks.published import Published, item
from encore.errors import UserError

_SPLIT_NAMES = {"train": "train", "validation": "validation", "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class Read:
    """Items by split, all of SPLITS, and what their card says."""

    rows: dict[str, list[Item]]
    source: str
    revision: str
    notes: str = ""


def local(published: Published, root: Path) -> Read:
    """The benchmark from a folder with NOVER's CSV files and, for SS-GEN, `ssgen/{train,dev,test}.jsonl`.

    A split of SS-GEN whose file is not there is empty, which the notes say. Raises UserError for a missing file, one
    that cannot be read, a split of another size than published, and a row without reference (by its id).
    """
    path = root / published.file
    if not path.exists():
        raise UserError(f"{root} has no {published.file}: {published.title} is not to be had from there")
    missing: list[str] = []
    try:
        if path.is_dir():
            raw: dict[str, list[Mapping[str, Any]]] = {split: [] for split in SPLITS}
            for stem, split in (("train", "train"), ("dev", "validation"), ("test", "test")):
                file = path / f"{stem}.jsonl"
                if file.exists():
                    raw[split] = [json.loads(line) for line in file.read_bytes().split(b"\n") if line.strip()]
                else:
                    missing.append(split)
        else:
            raw = _csv(path)
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise _damaged(path, error) from error
    notes = f"no {', '.join(missing)} rows in this folder" if missing else ""
    rows = _items(published, raw, str(path), set(missing))
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    revision = f"sha256 of its files {digest.hexdigest()[:32]}"
    return Read(rows, f"local files, {published.file}", revision, notes)


def hub(published: Published, revision: str | None) -> Read:
    """The benchmark from the Hugging Face hub. Raises UserError if the hub is out of reach or its columns changed."""
    import datasets
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    repository = published.repository
    try:
        commit = HfApi().dataset_info(repository, revision=revision or "main").sha
        loaded = datasets.load_dataset(repository, revision=commit)
    except (OSError, ValueError, LookupError, HfHubHTTPError, httpx.HTTPError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{repository} cannot be had from the hub ({reason}): say HF_HUB_OFFLINE=0 where there is a network, or "
            "set maestro.benchmarks.source to local or procedural"
        ) from error
    raw: dict[str, list[Mapping[str, Any]]] = {split: [] for split in SPLITS}
    found: set[str] = set()
    try:
        for name, part in loaded.items():
            for row in part:
                if published.aliases:
                    found.add(str(row["source_dataset"]))
                    if not _named(published, row["source_dataset"]):
                        continue
                raw[_SPLIT_NAMES[str(name)]].append(row)
    except (LookupError, TypeError) as error:
        raise UserError(
            f"{repository} at {commit} has not the columns that it had ({type(error).__name__}: {error}): name an "
            "earlier commit in maestro.benchmarks.revisions"
        ) from error
    if not any(raw.values()):
        raise UserError(f"{repository} has no rows of {published.title}: its source_dataset says {sorted(found)[:12]}")
    return Read(_items(published, raw, repository, set()), f"hub: {repository}", commit or "unknown")


def _csv(path: Path) -> dict[str, list[Mapping[str, Any]]]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows: dict[str, list[Mapping[str, Any]]] = {split: [] for split in SPLITS}
            for row in csv.DictReader(file):
                rows[_SPLIT_NAMES[row["split"]]].append(row)
            return rows
    finally:
        csv.field_size_limit(limit)


def _named(published: Published, source: Any) -> bool:
    plain = re.sub(r"[^a-z0-9]", "", str(source).lower())
    return any(alias in plain for alias in published.aliases)


def _items(
    published: Published, raw: Mapping[str, list[Mapping[str, Any]]], where: str, absent: set[str]
) -> dict[str, list[Item]]:
    for split, size in zip(SPLITS, published.sizes, strict=True):
        if len(raw[split]) != size and split not in absent:
            raise UserError(
                f"{where} has {len(raw[split])} {split} rows of {published.title}, {size} were published: fetch the "
                "data again, or name another revision"
            )
    try:
        return {
            split: [item(published.name, split, place, row) for place, row in enumerate(raw[split])] for split in SPLITS
        }
    except (LookupError, TypeError, AttributeError) as error:
        raise _damaged(Path(where), error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return UserError(f"{path} is not as its authors publish it ({reason}): fetch its files again")
