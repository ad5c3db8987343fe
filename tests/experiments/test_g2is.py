"""G2IS from data to table at the smoke scale; its numbers, tests and refusals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from encore import configuration, profiles
from encore.data import Instruction, Target, read_instructions, write_instructions
from encore.errors import UserError
from encore.gradients import Store
from experiments.g2is import claims, reported, select
from experiments.g2is import data as data_stage
from experiments.g2is.paired import Gain, gain
from experiments.g2is.settings import G2isSettings, policy_of

ROOT = Path(__file__).resolve().parents[2]
METHODS = ["base", "random", "less", "g2is", "bm25", "full"]
STAGES = """
import importlib, sys
for line in sys.stdin:
    module, *sys.argv[1:] = line.split()
    if module == "target_gradients":
        importlib.import_module("experiments.g2is.gradients").main(sys.argv[2])
    else:
        importlib.import_module(f"experiments.g2is.{module}").main()
"""
BEFORE_TRAINING = ["data", "warmup", "gradients", "target_gradients --target logic", "target_gradients --target words"]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def run_stages(checkout, lines):
    (checkout.path / ".stages").write_text("\n".join(lines), encoding="utf-8")
    checkout.run("bash", "-c", f"{sys.executable} -c '{STAGES}' < .stages", ENCORE_TRACK="deferred")


@pytest.fixture(scope="module")
def done(checkout_factory):
    """All stages in one process, which imports torch once; do not change its outputs."""
    checkout = checkout_factory("g2is")
    checkout.compose("g2is.workers=1")
    run_stages(checkout, [*BEFORE_TRAINING, "select", *(f"train --method {method}" for method in METHODS), "compare"])
    return checkout


@pytest.mark.slow
def test_every_number_of_the_table_follows_from_the_kept_examples(done):
    content = read_json(done.path / "runs/g2is/compare/comparison.json")
    rows = [row for row in content["rows"] if "metric" in row]
    assert {row["method"] for row in rows} == set(METHODS)
    assert {row["target"] for row in rows} == {"logic", "words"}
    for row in rows:
        folder = done.path / f"runs/g2is/train/{row['method']}/{row['setting']}-{row['fraction']:g}-0"
        lines = (folder / "tables/examples.jsonl").read_text().splitlines()
        kept = [line for line in map(json.loads, lines) if line["target"] == row["target"]]
        assert len(kept) == row["test_examples"] == 12
        assert row["mean"] == pytest.approx(np.mean([line[row["metric"]] for line in kept]))
    single = [row for row in rows if row["metric"] == "loss" and row["setting"] == row["target"]]
    loss = {(row["method"], row["target"], row["fraction"]): row for row in single}
    over = loss["g2is", "logic", 0.05]["gain_over"]["random"]
    expected = loss["random", "logic", 0.05]["mean"] - loss["g2is", "logic", 0.05]["mean"]
    assert over["difference"] == pytest.approx(expected), "a gain in loss is a lower loss"


@pytest.mark.slow
def test_the_report_has_what_a_reader_asks_for(done):
    text = (done.path / "runs/g2is/compare/comparison.md").read_text(encoding="utf-8")
    wanted = [
        "Claims of the paper",
        "Cost beside score",
        "Several targets at once",
        "What was chosen",
        "64.78",
        "65.66",
    ]
    wanted += [
        "A walk",
        "from the component",
        "component 1",
        "Overlap of pool and test",
        "Apache-2.0",
        "not run: bbh is no target here",
        "Not run: no target of",
    ]
    for phrase in wanted:
        assert phrase in text.replace("\\", ""), phrase
    assert re.search(r"G2IS (beats|does not beat) LESS here", text)
    page = (done.path / "report/g2is.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and "<script" not in page
    assert sorted(path.name for path in (done.path / "runs/g2is/compare/plots").iterdir()) == [
        "data-efficiency-logic.svg",
        "data-efficiency-words.svg",
    ]


@pytest.mark.slow
def test_a_selection_can_be_read_as_a_walk(done):
    folder = done.path / "runs/g2is/select"
    pool = read_instructions(done.path / "runs/g2is/data/pool.jsonl")
    for name in ("logic-0.1-0", "union-0.05-0"):
        found = read_json(folder / f"g2is/{name}.json")
        assert found["picks"] and len(found["picks"]) <= found["requested"]
        for pick in found["picks"]:
            assert pool[pick["index"]].id == pick["id"]
            assert pick["via"] in ("anchor", "neighbour", "fallback")
            if pick["via"] != "anchor":
                assert pool[pick["reached_from"]].id == pick["reached_from_id"]
                assert pick["smallest_similarity"] >= 0
                assert pick["new_consistency"] >= 0.8 * pick["old_consistency"] - 1e-9
    assert {pick["target"] for pick in read_json(folder / "g2is/union-0.05-0.json")["picks"]} <= {"logic", "words"}
    less = read_json(folder / "less/words-0.05-0.json")["picks"]
    assert [pick["score"] for pick in less] == sorted((pick["score"] for pick in less), reverse=True)
    assert read_json(folder / "g2is_k10/logic-0.05-0.json")["parameters"]["neighbours"] == 10


@pytest.mark.slow
def test_validation_test_and_pool_share_no_question(done):
    data = done.path / "runs/g2is/data"
    pool = {row.question for row in read_instructions(data / "pool.jsonl")}
    for target in ("logic", "words"):
        shown, tested = (
            {row.question for row in read_instructions(data / target / f"{part}.jsonl")}
            for part in ("validation", "evaluation")
        )
        assert not shown & tested and not (shown | tested) & pool
    for card in read_json(data / "cards.json"):
        assert all(card[key] for key in ("licence", "source", "revision", "sha256", "examples"))


@pytest.mark.slow
def test_a_killed_training_goes_on_with_the_cells_that_are_missing(done, tmp_path):
    checkout = type(done)(shutil.copytree(done.path, tmp_path / "killed", symlinks=True))
    out = checkout.path / "runs/g2is/train/g2is"
    reference = {path.parent.name: read_json(path) for path in out.glob("*/metrics.json")}
    shutil.rmtree(out)
    command = [sys.executable, "-m", "experiments.g2is.train", "--method", "g2is"]
    training = subprocess.Popen(
        command,
        cwd=checkout.path,
        env=checkout.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while not list(out.glob("*/run.yaml")):
        assert training.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(training.pid, signal.SIGKILL)
    training.wait()
    made = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/run.yaml")}
    assert 1 <= len(made) < len(reference)
    checkout.run(*command)
    assert all((out / name / "run.yaml").stat().st_mtime_ns == at for name, at in made.items())
    for name, metrics in reference.items():
        again = read_json(out / name / "metrics.json")
        assert {key: again[key] for key in again if not key.endswith("_wall_s")} == {
            key: metrics[key] for key in metrics if not key.endswith("_wall_s")
        }


def _spoil_rows(folder, change):
    """Writes the rows of a store again, after `change` of the array; sealed, so that nothing but the rows is wrong."""
    store = Store.open(folder)
    rows, ids, about = store[:].copy(), store.ids, store.about
    shutil.rmtree(folder)
    made = Store.create(folder, **change(rows, {key: value for key, value in about.items() if key != "format"}))
    made.write(0, ids, torch.from_numpy(rows))
    made.seal(ids)


def _row_of(value):
    def change(rows, about):
        rows[4] = value
        return about

    return change


def _duplicate(runs):
    rows = read_instructions(runs / "data/pool.jsonl")
    write_instructions(runs / "data/pool.jsonl", [*rows[:-1], rows[0]])


def _leak(runs):
    rows = read_instructions(runs / "data/pool.jsonl")
    shown = read_instructions(runs / "data/logic/validation.jsonl")
    write_instructions(runs / "data/pool.jsonl", [*rows[:-1], shown[0]])


SPOILED = {
    "empty pool": (lambda runs: (runs / "data/pool.jsonl").write_text(""), "the pool is empty"),
    "empty target": (lambda runs: (runs / "data/logic/validation.jsonl").write_text(""), "there is no target example"),
    "duplicate": (_duplicate, "pool example 59 repeats example 0"),
    "target in the pool": (_leak, "target example 0 is in the pool, as example 59"),
    "not finite": (
        lambda runs: _spoil_rows(runs / "gradients/pool/less_code/checkpoint-1", _row_of(np.nan)),
        "pool example 4 .* is not finite: drop the example",
    ),
    "zero": (
        lambda runs: _spoil_rows(runs / "gradients/pool/less_code/checkpoint-0", _row_of(0)),
        "pool example 4 .* is zero: drop the example",
    ),
    "other projector": (
        lambda runs: _spoil_rows(
            runs / "gradients/logic/sgd/checkpoint-0", lambda rows, about: {**about, "projector": {"seed": 7}}
        ),
        "different projectors",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SPOILED)
def test_what_no_selection_can_be_made_from_is_one_line(done, case, tmp_path, monkeypatch, capsys):
    spoil, message = SPOILED[case]
    for name in ("data", "gradients", "warmup"):
        shutil.copytree(done.path / "runs/g2is" / name, tmp_path / "runs/g2is" / name)
    shutil.copy(done.path / "params.yaml", tmp_path)
    (tmp_path / "base").symlink_to(done.path / "base")
    spoil(tmp_path / "runs/g2is")
    _refused(select.main, message, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
def test_more_components_than_target_rows_is_one_line(done, tmp_path, monkeypatch, capsys):
    for name in ("data", "gradients", "warmup"):
        shutil.copytree(done.path / "runs/g2is" / name, tmp_path / "runs/g2is" / name)
    (tmp_path / "base").symlink_to(done.path / "base")
    profiles.compose(
        "smoke",
        ["+g2is.parameters.g2is={pca_mode: count_ratio}", "g2is.workers=1"],
        tmp_path / "params.yaml",
        ROOT / "conf",
    )
    _refused(select.main, "fewer target examples than components", tmp_path, monkeypatch, capsys)


def _refused(stage, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ENCORE_TRACK", "off")
    with pytest.raises(SystemExit) as ended:
        stage()
    assert ended.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and re.search(message, lines[0]), lines
    assert not (folder / "runs/g2is/select").exists()


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu", "paper"])
def test_every_profile_is_valid(profile, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    composed = profiles.compose(profile, output=tmp_path / "params.yaml", conf=ROOT / "conf")
    params = yaml.safe_load(composed.read_text(encoding="utf-8"))
    g2is = configuration.build(G2isSettings, params["g2is"], "g2is")
    assert {"base", "random", "less", "g2is"} <= set(g2is.methods)
    source = {"paper": "meta-llama/Llama-3.1-8B"}.get(profile, params["policy"]["source"])
    assert policy_of(params).source == source, "the paper profile has a backbone of its own for this paper"
    assert "full" in [*g2is.methods, *g2is.method_sets["full_True"]]
    for method in g2is.methods:
        names = [cell.name for cell in g2is.cells(method)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fractions": [0.0]}, "g2is.fractions holds 0.0: it must be above 0 and at most 1"),
        ({"curve": [1.5]}, "g2is.curve holds 1.5"),
        ({"methods": ["g3is"]}, "unknown selection method 'g3is'"),
        ({"methods": ["base", "base"]}, "names one twice"),
        ({"targets": []}, "g2is.targets is empty"),
        ({"targets": ["pooled"], "multi_target": ["pooled"]}, "means all targets at once"),
        ({"multi_target": ["joint"]}, "g2is.multi_target names 'joint'"),
        ({"curve_methods": ["full"]}, "which is not in g2is.methods"),
        ({"seeds": [-1]}, "seed -1"),
        ({"variants": {"less": {"method": "less"}}}, "give it a new name"),
        ({"gradients": {"readings": ["adamw"]}}, "g2is.gradients.readings names 'adamw'"),
        ({"warmup": {"fraction": 2.0}}, "g2is.warmup.fraction is 2.0"),
        ({"evaluate": {"by": "eye"}}, "g2is.evaluate.by is 'eye'"),
        ({"data": {"source": "web"}}, "data.source is 'web'"),
        ({"workers": 0}, "g2is.workers is 0"),
    ],
)
def test_bad_settings_name_the_key(values, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        configuration.build(G2isSettings, values, "g2is")
    assert "\n" not in str(caught.value)


def test_a_row_shown_for_one_target_and_tested_in_another_is_refused():
    def target(name, shown, tested):
        rows = [[Instruction(f"{name}-{text}", text, "yes", "f") for text in part] for part in (shown, tested)]
        return Target(name, "maths", *rows, [])

    data_stage.check_apart([target("a", ["1"], ["2"]), target("b", ["3"], ["4"])])
    with pytest.raises(UserError, match="validation row a-1 of a is tested on as b-1 of b"):
        data_stage.check_apart([target("a", ["1"], ["2"]), target("b", ["3"], ["1"])])


def test_the_bootstrap_counts_seeds_and_examples():
    random = np.random.default_rng(0)
    a = random.normal(size=(3, 200)) + np.array([[0.0], [1.0], [2.0]])
    b = np.zeros((3, 200))
    found = gain(a, b)
    assert found.difference == pytest.approx(a.mean())
    assert found.per_seed == pytest.approx(a.mean(axis=1))
    over_examples = a.mean(axis=0).std() / 200**0.5
    assert found.high - found.low > 5 * 3.92 * over_examples, "seeds that differ make the interval wide"
    assert gain(a[[1, 1, 1]], b).high - gain(a[[1, 1, 1]], b).low == pytest.approx(
        3.92 * a[1].std() / 200**0.5, rel=0.1
    )
    opposite = gain(b, a)
    assert (opposite.low, opposite.high) == pytest.approx((-found.high, -found.low), abs=0.1)


def test_a_verdict_wants_the_interval_and_every_seed():
    ones = np.ones((3, 100))
    assert gain(ones, np.zeros((1, 100))).verdict == "better"
    assert gain(np.zeros((1, 100)), ones).verdict == "worse"
    mixed = ones * np.array([[1.0], [1.0], [-0.01]])
    assert gain(mixed, np.zeros((3, 100))).verdict == "not distinguishable"
    with pytest.raises(ValueError, match="not pairs"):
        gain(ones, np.zeros((3, 99)))


def test_claims_are_corrected_for_their_number(numbers):
    claim = next(claim for claim in numbers.claims if claim.id == "g2is-above-less")

    def judged(p):
        return claims.Judged(claim, "logic", 0.05, "loss", Gain(0.1, 0.01, 0.2, p, [0.1, 0.1], 50))

    alone, among = claims.adjusted([judged(0.03)]), claims.adjusted([judged(0.03), judged(0.04)])
    assert [one.verdict for one in alone] == ["reproduced"]
    assert [one.verdict for one in among] == ["direction only"] * 2
    assert claims.Judged(claim, "logic", 0.05, "loss", None).verdict == "not run"


@pytest.fixture(scope="module")
def numbers():
    return reported.load()


def test_the_summary_says_when_g2is_does_not_beat_less(numbers):
    claim = next(claim for claim in numbers.claims if claim.id == "g2is-above-less")

    def judged(shift):
        tested = gain(np.full((3, 50), shift), np.zeros((3, 50)))
        return [claims.Judged(claim, "logic", 0.05, metric, tested) for metric in ("exact", "loss")]

    assert claims.summary(judged(-1.0)).startswith("G2IS does not beat LESS here")
    assert claims.summary(judged(0.0)).startswith("G2IS does not beat LESS here")
    assert claims.summary(judged(1.0)).startswith("G2IS beats LESS here")
    mixed = [judged(1.0)[1], judged(-1.0)[0]]
    assert claims.summary(mixed).startswith("G2IS does not beat LESS here"), "better by loss, worse by exact match"


def test_the_papers_numbers_are_those_of_the_specification(numbers, shared):
    text = shared("specs/g2is.md").read_text(encoding="utf-8")
    of_a = {"g2is": 1, "less": 2, "sentence_bert": 3, "full": 4}
    rows = {cells[0].strip().lower(): cells for cells in _rows(text, "Table A.", "Table B.")}
    for task in ("bbh", "gpqa", "gsm8k", "math", "mmlu"):
        for method, place in of_a.items():
            assert numbers.value("A", method, task).value == float(rows[task][place])
    of_b = {"g2is": "G2IS", "g2is_without_graph": "w/o graph", "g2is_without_gradient": "w/o gradient"}
    rows = {cells[0].strip(): cells for cells in _rows(text, "Table B.", "Other statements")}
    for method, name in of_b.items():
        for place, task in enumerate(("bbh", "gpqa", "gsm8k", "math", "mmlu"), start=1):
            assert numbers.value("B", method, task).value == float(rows[name][place])


def _rows(text, start, end):
    part = text[text.index(start) : text.index(end)]
    return [line.strip().strip("|").split("|") for line in part.splitlines() if line.startswith("|")]


def test_a_wrong_number_in_the_papers_table_is_noticed(tmp_path):
    path = tmp_path / "reported.yaml"
    path.write_text(reported.PATH.read_text(encoding="utf-8").replace("57.85", "77.85"), encoding="utf-8")
    with pytest.raises(UserError, match="row g2is_without_graph: its ratio"):
        reported.load(path)


def test_texts_are_embedded_once_for_all_processes(tmp_path, monkeypatch):
    made = []

    def mini_lm():
        return lambda texts: made.append(tuple(texts)) or torch.tensor([[float(len(text)), 1.0] for text in texts])

    monkeypatch.setattr("encore.selection.embeddings.why_not", lambda: None)
    monkeypatch.setattr("encore.selection.embeddings.mini_lm", mini_lm)
    one, other = (select._embedder(tmp_path) for _ in range(2))  # of two processes
    assert torch.equal(one(["a", "bc"]), torch.tensor([[1.0, 1.0], [2.0, 1.0]]))
    assert torch.equal(other(["a", "bc"]), one(["a", "bc"]))
    assert torch.equal(other(["ab", "c"]), torch.tensor([[2.0, 1.0], [1.0, 1.0]])), "other texts, if joined the same"
    assert made == [("a", "bc"), ("ab", "c")]
