"""Real pools and targets, as their authors publish them, from files to selections at a tiny size."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from encore.data import read_instructions

POOLS = ["cot", "dolly", "flan", "oasst"]
TARGETS = {
    "mmlu_medicine": "medicine",
    "mmlu_finance": "finance",
    "mmlu_law": "law",
    "gsm8k": "maths",
    "bbh": "reasoning",
    "mmlu": "knowledge",
    "tydiqa": "languages",
}
SELECTED = ["gsm8k", "mmlu_medicine"]  # a selection for each of them would take a minute
STAGES = """
import importlib, sys
for line in sys.stdin:
    module, *sys.argv[1:] = line.split()
    importlib.import_module(f"experiments.g2is.{module}").main()
"""


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def run(checkout, folder, targets, *lines):
    checkout.compose(
        "g2is.data.source=local",
        "g2is.data.pools=[" + ",".join(POOLS) + "]",
        "g2is.data.pool_size=12",
        "g2is.data.shots=2",
        "g2is.data.evaluation=1",
        "g2is.data.target_size=20",
        "policy.max_length=384",
        "g2is.targets=[" + ",".join(targets) + "]",
        "g2is.fractions=[0.2]",
        "g2is.curve=[]",
        "g2is.multi_target=[]",
        "g2is.warmup.checkpoints=1",
        "g2is.gradients.readings=[less_code]",
        "g2is.workers=1",
    )
    (checkout.path / ".stages").write_text("\n".join(lines), encoding="utf-8")
    checkout.run(
        "bash", "-c", f"{sys.executable} -c '{STAGES}' < .stages", ENCORE_TRACK="off", ENCORE_INSTRUCT=str(folder)
    )
    return checkout.path / "runs/g2is"


@pytest.mark.slow
def test_real_files_become_pools_targets_and_their_overlap(checkout_factory, shared):
    runs = run(checkout_factory("g2is-local-data"), shared("data/instruct"), TARGETS, "data")
    rows = read_instructions(runs / "data/pool.jsonl")
    assert Counter(row.id.partition("-")[0] for row in rows) == dict.fromkeys(POOLS, 12), (
        "also of flan, whose rows are long"
    )
    assert read_json(runs / "data/metrics.json")["pool_too_long"] > 0
    sizes = {name: len(read_instructions(runs / f"data/{name}/evaluation.jsonl")) for name in TARGETS}
    assert sizes["bbh"] == sizes["mmlu"] == 20 and sizes["gsm8k"] == 1
    cards = {(card["name"], card["role"]): card for card in read_json(runs / "data/cards.json")}
    for name, domain in TARGETS.items():
        assert read_json(runs / f"data/{name}/about.json")["domain"] == domain
        assert cards[name, "evaluation"]["source"].startswith("local files")
        assert len(cards[name, "evaluation"]["revision"].split()[-1]) == 32, "a hash of the files"
        assert read_instructions(runs / f"data/{name}/validation.jsonl")
    overlaps = {one["target"]: one for one in read_json(runs / "data/overlap.json")}
    assert set(overlaps) == set(TARGETS)
    for one in overlaps.values():
        assert one["hits"] <= one["compared"] <= one["evaluated"]


@pytest.mark.slow
def test_real_files_go_through_gradients_to_selections(checkout_factory, shared):
    stages = [f"target_gradients --target {name}" for name in SELECTED]
    runs = run(
        checkout_factory("g2is-local"),
        shared("data/instruct"),
        SELECTED,
        "data",
        "warmup",
        "gradients",
        *stages,
        "select",
    )
    pool = read_instructions(runs / "data/pool.jsonl")
    for name in SELECTED:
        for method in ("g2is", "less", "bm25"):
            found = read_json(runs / f"select/{method}/{name}-0.2-0.json")
            assert 1 <= len(found["picks"]) <= found["requested"] == int(len(pool) * 0.2)
            assert all(pool[pick["index"]].id == pick["id"] for pick in found["picks"])
