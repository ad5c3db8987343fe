"""MAESTRO's pipeline from data to table at the smoke scale: every answer kept, cells made once, cuts resumed."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from encore import configuration, profiles
from encore.benchmarks import Item
from encore.errors import UserError
from experiments.maestro.arms import ARMS, arm
from experiments.maestro.settings import MaestroSettings, section
from experiments.maestro.train import resolved
from tests.encore.evaluation.judge_double import Bench, served
from tests.experiments.maestro_stages import read_json, run_stages

OVERRIDES = ("maestro.benchmarks.names=[rewriting]", "maestro.methods=[base,sft,equal,ours,llm_judge]")


@pytest.fixture(scope="module")
def finished(checkout_factory):
    """All stages in one process, which imports torch once."""
    checkout = checkout_factory("maestro")
    checkout.compose(*OVERRIDES)
    names = ("data", "start", "preference", "train", "evaluate")
    run_stages(checkout, [*(f"{name} --benchmark rewriting" for name in names), "compare"])
    return checkout


@pytest.mark.slow
def test_the_table_follows_from_the_answers(finished):
    runs = finished.path / "runs/maestro"
    comparison = read_json(runs / "compare/comparison.json")
    rows = {row["method"]: row for row in comparison["rows"]}
    assert set(rows) == {"base", "sft", "equal", "ours", "llm_judge"}
    assert "needs the endpoint of a judge" in rows.pop("llm_judge")["skipped"]
    scores = {}
    for method, row in rows.items():
        lines = (runs / f"evaluate/rewriting/{method}-0/tables/answers.jsonl").read_text().splitlines()
        answers = [json.loads(line) for line in lines]
        scores[method] = np.array([answer["score"] for answer in answers])
        assert row["mean"] == pytest.approx(scores[method].mean()) and row["items"] == len(answers) == 8
        assert row["low"] <= row["mean"] <= row["high"] and row["substitute"] and row["stand_in"]
        assert all(answer["response"] is not None and answer["reference"] for answer in answers)
    for pair in comparison["pairs"]:
        assert pair["difference"] == pytest.approx((scores[pair["a"]] - scores[pair["b"]]).mean())
    judged = {claim["b"]: claim for claim in comparison["claims"]}
    assert judged["equal"]["gain"]["difference"] == pytest.approx((scores["ours"] - scores["equal"]).mean())
    assert judged["nover"]["verdict"] == "not run"
    page = (finished.path / "report/maestro.html").read_text(encoding="utf-8")
    assert "MAESTRO" in page and "substitute" in page and page.count("<svg") == 3 and "<script" not in page
    text = (runs / "compare/comparison.md").read_text(encoding="utf-8")
    assert "needs the endpoint of a judge" in text and "Table 2" in text
    assert (runs / "compare/table.txt").read_text().strip()


@pytest.mark.slow
def test_a_conductor_leaves_the_weights_of_every_step(finished):
    runs = finished.path / "runs/maestro"
    for method in ("equal", "ours"):
        weights = read_json(runs / f"train/rewriting/{method}-0/weights.json")
        assert weights["rewards"] == ["perplexity", "format", "entropy", "length", "preference"]
        assert [line["step"] for line in weights["history"]] == [1, 2, 3]
        for line in weights["history"]:
            assert sum(line["weights"]) == pytest.approx(1)
        first, last = (np.array(weights["history"][place]["weights"]) for place in (0, -1))
        assert first == pytest.approx(0.2, abs=1e-6), "the Conductor starts at equal weights"
        assert (np.abs(last - 0.2).max() > 1e-4) == (method == "ours")
    record = yaml.safe_load((runs / "train/rewriting/ours-0/run.yaml").read_text())
    assert set(record["costs"]["phases"]) >= {"rollout", "reward", "update"}
    preference = read_json(runs / "preference/rewriting/metrics.json")
    assert preference["held_out_pairs"] == 8 and 0 <= preference["accuracy"] <= 1
    assert set(preference["by_kind"]) == {"other answer", "no tags", "cut", "twice"}


@pytest.mark.slow
def test_killed_workers_go_on_to_the_same_result(finished, tmp_path):
    """SIGKILL of the stage after a cell's checkpoint; two worker processes; the second start ends as an uncut one."""
    reference = finished.path / "runs/maestro"
    checkout = type(finished)(shutil.copytree(finished.path, tmp_path / "killed", symlinks=True))
    for folder in ("runs/maestro/train", ".encore"):
        shutil.rmtree(checkout.path / folder, ignore_errors=True)
    checkout.compose("maestro.benchmarks.names=[rewriting]", "maestro.methods=[equal,ours]", "maestro.workers=2")
    command = [sys.executable, "-m", "experiments.maestro.train", "--benchmark", "rewriting"]
    stage = subprocess.Popen(
        command, cwd=checkout.path, env=checkout.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not list((checkout.path / ".encore/work").glob("*/state.json")):
        assert stage.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(stage.pid, signal.SIGKILL)
    stage.wait()
    checkout.run(*command)
    sessions = []
    for method in ("equal", "ours"):
        made, uncut = (root / f"train/rewriting/{method}-0" for root in (checkout.path / "runs/maestro", reference))
        sessions.append(yaml.safe_load((made / "run.yaml").read_text())["sessions"])
        assert read_json(made / "weights.json") == read_json(uncut / "weights.json")
        assert (made / "model/model.safetensors").read_bytes() == (uncut / "model/model.safetensors").read_bytes()
    assert 2 in sessions


@pytest.mark.slow
def test_only_what_is_missing_or_changed_runs_again(finished):
    """A second start keeps every cell; another number of answer tokens makes the evaluations again, no training."""
    again = run_stages(finished, ["train --benchmark rewriting", "evaluate --benchmark rewriting"])
    assert again.stdout.count("is up to date") == 2 * 4 and "made" not in again.stdout
    finished.compose(*OVERRIDES, "maestro.answers.max_response_tokens=8", "maestro.methods=[base,equal]")
    try:
        changed = run_stages(finished, ["train --benchmark rewriting", "evaluate --benchmark rewriting"])
        assert changed.stdout.count("maestro.train: runs") == 2 == changed.stdout.count("maestro.evaluate: made")
        left = {path.name for path in (finished.path / "runs/maestro/train/rewriting").iterdir()}
        assert left == {"base-0", "equal-0"}, "cells that nobody asks for are removed"
    finally:
        finished.compose(*OVERRIDES)


@pytest.mark.slow
def test_with_a_judge_the_stages_ask_it_and_the_tables_name_it(finished):
    """The same answers, judged; a judge that always says the same is seen in every score."""
    with served(Bench(lambda body: "VERDICT: TIE")) as url:
        judge = (f"maestro.judge_url={url}", "maestro.judge_model=wise", "maestro.methods=[base,equal]")
        finished.compose("maestro.benchmarks.names=[rewriting]", *judge)
        try:
            done = run_stages(finished, ["evaluate --benchmark rewriting", "compare"])
        finally:
            finished.compose(*OVERRIDES)
    assert done.stdout.count("maestro.judge: made") == 2
    comparison = read_json(finished.path / "runs/maestro/compare/comparison.json")
    for row in comparison["rows"]:
        assert row["mean"] == 0 and not row["substitute"] and row["undecided_share"] == [0.0]
        assert row["metric"] == "preferred to the reference, %, by wise, majority of 3"
    text = (finished.path / "runs/maestro/compare/comparison.md").read_text(encoding="utf-8")
    assert "by wise" in text and "(substitute)" not in text and "Here wise answers ours" in text
    assert "checkable substitute" not in text


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu", "paper"])
def test_every_profile_s_arms_can_be_made(profile, tmp_path, monkeypatch):
    root = profiles.CONF.resolve()
    params = yaml.safe_load(profiles.compose(profile, output=tmp_path / "params.yaml", conf=root).read_text())
    maestro = configuration.build(MaestroSettings, params["maestro"], "maestro")
    assert [one.name for one in maestro.arms()] == params["maestro"]["methods"]
    from encore.scalarization import names

    for one in maestro.arms():
        assert one.trains != "rl" or one.scalarizer in names()
    if profile == "paper":
        assert {one.name for one in maestro.arms()} >= set(ARMS) - {"cot"}
        assert section(params, "rl", "ss_gen", {})["reference_every"] == 12
        assert section(params, "rl", "tombench", {})["reference_every"] == 6
        assert section(params, "conductor", "ss_gen", {"alpha": 0.5}) == {
            **params["maestro"]["conductor"],
            "update_every": 6,
            "alpha": 0.5,
        }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": ["ourz"]}, "maestro.methods names 'ourz'"),
        ({"methods": ["ours", "ours"]}, "names an arm twice"),
        ({"methods": ["static_none"]}, "maestro.methods names 'static_none'"),
        ({"seeds": [-1]}, "seed -1"),
        ({"by_benchmark": {"ss_gen": {"sft": {}}}}, "maestro.by_benchmark.ss_gen.sft is no section"),
        ({"benchmarks": {"names": ["tombench"]}}, "not to be had from source procedural"),
        ({"preference": {"pairs": 5, "held_out": 5}}, "maestro.preference.held_out is 5 of 5 pairs"),
        ({"rl": {"group_size": 1}}, "needs at least 2 responses"),
        ({"methods": ["ours_joint"], "rl": {"loss_normalization": "response"}}, "has no gradient under"),
        ({"full": True, "method_sets": {"full_True": ["ours_raw"]}}, "maestro.methods lacks ours_raw"),
        ({"judge_url": "http://localhost"}, "maestro.judge_url and maestro.judge_model go together"),
        ({"judge_url": "u", "judge_model": "m", "judging": {"options": {"votes": 2}}}, "odd number of votes"),
    ],
)
def test_bad_settings_are_one_line(values, message):
    with pytest.raises(UserError) as caught:
        configuration.build(MaestroSettings, values, "maestro")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_cell_s_hash_holds_the_code_that_dvc_watches(stage):
    """Else DVC would run the stage again after an edit, and every cell would say that it is up to date."""
    module = importlib.import_module(f"experiments.maestro.{stage}")
    deps = yaml.safe_load((profiles.CONF.resolve().parent / "dvc.yaml").read_text())["stages"][f"maestro.{stage}"][
        "deps"
    ]
    in_parameters = {"experiments/maestro/arms.py", "experiments/maestro/cells.py", "base/tiny"}
    if stage == "evaluate":  # verdicts are runs of their own: another prompt of the judge makes no new answers
        from experiments.maestro.judging import CODE

        in_parameters |= {path.as_posix() for path in CODE}
    watched = {path for path in deps if not path.startswith("runs/")} - in_parameters
    assert {path.as_posix() for path in module.CODE} == watched


@pytest.mark.parametrize(("profile", "named", "dtype"), [("laptop", "", "float32"), ("laptop", "bfloat16", "bfloat16")])
def test_the_preference_model_lies_where_the_policy_does(profile, named, dtype, tmp_path):
    """And is as precise, unless `maestro.rewards.parameters` says otherwise."""
    key = "maestro.rewards.parameters.preference.dtype"
    overrides = [f"{key}={named}" if named else f"~{key}"]  # the profile names one
    composed = profiles.compose(profile, overrides, tmp_path / "params.yaml", profiles.CONF.resolve())
    params = yaml.safe_load(composed.read_text())
    params["policy"]["device"] = "cuda"
    chosen = resolved(params, "rewriting", arm("ours"))["maestro"]["rewards"]["preference"]
    assert (chosen["device"], chosen["dtype"]) == ("cuda", dtype)
    assert chosen["model"] == "runs/maestro/preference/rewriting/model"
    params["policy"]["dtype"] = "float16"
    chosen = resolved(params, "rewriting", arm("ours"))["maestro"]["rewards"]["preference"]
    assert chosen["dtype"] == (named or "float16")


def test_the_full_set_holds_every_ablation(tmp_path):
    """`maestro.full=true` composes to every arm, single rewards and points of the grid."""
    composed = profiles.compose("laptop", ["maestro.full=true"], tmp_path / "params.yaml", profiles.CONF.resolve())
    maestro = configuration.build(MaestroSettings, yaml.safe_load(composed.read_text())["maestro"], "maestro")
    names = {one.name for one in maestro.arms()}
    assert names >= set(ARMS) and {f"static_{point}" for point in maestro.static} <= names
    assert {f"single_{reward}" for reward in maestro.rewards.names} <= names
    assert arm("ours_mean").rl == {"pooling": "mean"}


def test_families_of_arms():
    assert arm("single_length").parameters == {"reward": "length"} and arm("single_length").rewards == ("length",)
    assert arm("static_x", {"x": {"length": 1.0}}).parameters == {"weights": {"length": 1.0}}
    assert arm("em").reward_parameters == {"entropy": {"sign": -1}}, "EM-GRPO rewards low entropy"


def test_pairs_are_never_equal_and_keep_to_their_rows():
    from experiments.maestro.pairs import SPOILS, make_pairs

    items = [Item(f"r{n}", f"Say {n}", f"word{n % 3}", thought=f"It is {n}.") for n in range(7)]
    pairs = make_pairs(items, 40, seed=1)
    assert len(pairs) == 40 and pairs == make_pairs(items, 40, seed=1)
    by_prompt = {item.prompt: item.solution for item in items}
    for one in pairs:
        assert one.pair.chosen == by_prompt[one.pair.prompt] != one.pair.rejected
    assert {one.spoiled for one in pairs} == set(SPOILS)
    with pytest.raises(UserError, match="need two rows"):
        make_pairs(items[:1], 4, seed=1)
