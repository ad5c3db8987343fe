"""A small run of MAESTRO's stages on rows of a published benchmark."""

from __future__ import annotations

import json

import pytest

from tests.experiments.maestro_stages import read_json, run_stages


@pytest.mark.slow
def test_real_rows_run_through(checkout_factory, shared):
    """ToMBench from a local folder: data, start, preference, a few steps of two arms, answers, each with its score."""
    checkout = checkout_factory("tombench")
    checkout.compose(
        "maestro.benchmarks.source=local",
        f"maestro.benchmarks.path={shared('data/nover')}",
        "maestro.benchmarks.names=[tombench]",
        "maestro.benchmarks.train=8",
        "maestro.benchmarks.test=4",
        "maestro.benchmarks.validation=12",
        "maestro.methods=[base,ours]",
        "maestro.warmup.examples=12",
        "maestro.preference.pairs=12",
        "maestro.preference.held_out=4",
        "maestro.rl.steps=2",
    )
    names = ("data", "start", "preference", "train", "evaluate")
    run_stages(checkout, [f"{name} --benchmark tombench" for name in names])
    runs = checkout.path / "runs/maestro"
    tests = [json.loads(line) for line in (runs / "data/tombench/test.jsonl").read_text("utf-8").splitlines()]
    for method in ("base", "ours"):
        lines = (runs / f"evaluate/tombench/{method}-0/tables/answers.jsonl").read_text("utf-8").splitlines()
        answers = [json.loads(line) for line in lines]
        assert [(row["id"], row["reference"]) for row in answers] == [(row["id"], row["reference"]) for row in tests]
        assert all(row["score"] in (0.0, 1.0) and row["tokens"] > 0 for row in answers)
    weights = read_json(runs / "train/tombench/ours-0/weights.json")
    assert [line["step"] for line in weights["history"]] == [1, 2]
    assert read_json(runs / "data/tombench/benchmark.json")["metric"] == "option_match"
