"""An export holds the comparison, its figures, and a line for every other run."""

from __future__ import annotations

import json

import pytest

from encore.errors import UserError
from experiments.export import export


def write(path, text="stage: own\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_what_is_exported(tmp_path):
    runs, folder = tmp_path / "runs", tmp_path / "results"
    write(runs / "paper/compare/run.yaml", "stage: paper.compare\n")
    write(runs / "paper/compare/comparison.json", "{}")
    write(runs / "paper/compare/report.html", "large")
    write(runs / "paper/compare/plots/curve.svg", "<svg/>")
    write(runs / "paper/train/a-0/run.yaml", "stage: paper.train\nseed: 0\n")
    write(runs / "paper/train/a-0/model/weights", "many")
    write(runs / "paper/deep/b/c-1/run.yaml", "stage: paper.deep\nseed: 1\n")
    write(runs / "other/train/run.yaml")
    write(folder / "README.md", "kept")
    write(folder / "runs.jsonl", "old\n")
    written = export("paper", folder, runs)
    assert {path.name for path in written} == {"run.yaml", "comparison.json", "curve.svg", "runs.jsonl"}
    assert {path.name for path in folder.iterdir()} == {path.name for path in written} | {"README.md"}
    records = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    assert sorted((record["stage"], record["seed"]) for record in records) == [("paper.deep", 1), ("paper.train", 0)]


def test_without_a_comparison_it_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"make repro TARGET=paper\.compare"):
        export("paper", tmp_path, tmp_path / "runs")
