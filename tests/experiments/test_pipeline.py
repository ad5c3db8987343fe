"""The pipeline as a user meets it: a table at the end, nothing done twice, a cut run resumed, errors of one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from encore.report.comparison import Comparison

# Those of the fixture `finished`.
THREE_ARMS = ("prism.methods=[base,sft,prism_gini]", "prism.environments=[alfworld]")


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_ends_with_a_table_a_page_and_every_episode(finished):
    comparison = Comparison.load(finished.path / "runs/prism/compare/comparison.json")
    rows = [row for row in comparison.rows if not row.skipped]  # the paper's other arms are rows that say so
    assert {row.method for row in rows} == {"base", "sft", "prism_gini"}
    assert {row.panel for row in rows} == {"seen", "unseen"}
    for row in rows:
        if row.metric != "success":
            continue
        table = finished.path / f"runs/prism/evaluate/{row.environment}-{row.method}-0/tables/episodes.jsonl"
        episodes = [json.loads(line) for line in table.read_text().splitlines()]
        played = [episode for episode in episodes if episode["panel"] == row.panel]
        assert row.mean == pytest.approx(sum(episode["won"] for episode in played) / len(played))
        assert len(played) == row.episodes == 6
        assert all(episode["stop_reason"] in ("won", "step_limit", "context_full") for episode in played)
    page = (finished.path / "report/index.html").read_text(encoding="utf-8")
    assert "PRISM" in page
    assert "<script" not in page
    assert (finished.path / "runs/prism/compare/table.txt").read_text().strip()


@pytest.mark.slow
def test_split_halves_the_demonstrations_by_the_probe(finished):
    split = read_json(finished.path / "runs/prism/split/alfworld/prism_gini-0.json")
    assert (len(split["sft"]), len(split["rl"])) == (12, 12)
    everything = read_json(finished.path / "runs/prism/split/alfworld/sft-0.json")
    assert sorted(everything["sft"]) == sorted(split["sft"] + split["rl"])
    probe = read_json(finished.path / "runs/prism/probe/alfworld/metrics.json")
    config = read_json(finished.path / "base/tiny/config.json")
    assert probe["matrices"] == 7 * config["num_hidden_layers"]


@pytest.mark.slow
def test_every_run_records_what_it_takes_to_repeat_it(finished):
    found = list((finished.path / "runs/prism").rglob("run.yaml"))
    assert len(found) == 4 + 3 * 2 + 1
    for path in found:
        record = yaml.safe_load(path.read_text())
        for key in ("stage", "params", "inputs", "versions", "git", "hardware", "command", "costs"):
            generated = key == "inputs" and record["stage"] == "prism.demos"  # made from parameters alone
            assert record[key] or generated, f"{path} lacks {key}"
    costs = {
        method: yaml.safe_load((finished.path / f"runs/prism/train/alfworld-{method}-0/run.yaml").read_text())["costs"]
        for method in ("sft", "prism_gini")
    }
    assert costs["sft"]["tokens_trained"] > 0
    assert costs["sft"]["environment_steps"] == 0
    assert set(costs["sft"]["phases"]) >= {"sft"}
    both = costs["prism_gini"]
    assert all(both["phases"][phase]["wall_s"] > 0 for phase in ("sft", "rollout", "update"))
    assert both["tokens_generated"] > 0 and both["environment_steps"] > 0


@pytest.mark.slow
def test_a_second_run_does_nothing_and_is_quick(finished):
    began = time.monotonic()
    again = finished.run("dvc", "repro", "prism.compare")
    assert finished.stages_run(again.stdout) == []
    # 3 s on an idle machine; a test shares its machine with others.
    assert time.monotonic() - began < 15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("prism.sft.learning_rate=0.0001", {"prism.train"}),
        ("prism.rl.alfworld.learning_rate=0.00002", {"prism.train"}),
        ("prism.rl_fraction=0.25", {"prism.split"}),
        ("prism.pass_rates.rollouts=1", {"prism.pass_rates"}),
        ("base.seed=1", {"base.pretrain"}),
        ("tracking.country=DEU", set()),
    ],
)
def test_a_parameter_makes_only_its_own_stages_out_of_date(finished, override, expected):
    """A dry run names the stages that read the parameter; what follows from them depends on what they will make."""
    finished.compose(*THREE_ARMS, override)
    try:
        planned = finished.run("dvc", "repro", "--dry", "prism.compare")
        assert {stage.partition("@")[0] for stage in finished.stages_run(planned.stdout)} == expected
    finally:
        finished.compose(*THREE_ARMS)


@pytest.mark.slow
def test_a_parameter_reruns_only_what_depends_on_it(finished, tmp_path):
    changed = type(finished)(shutil.copytree(finished.path, tmp_path / "changed", symlinks=True))
    changed.compose(*THREE_ARMS, "prism.panels.alfworld.seen=3")
    done = changed.run(sys.executable, "-m", "experiments.repro", "prism.compare")
    ran = changed.stages_run(done.stdout)
    assert {stage.partition("@")[0] for stage in ran} == {"prism.evaluate", "prism.compare"}
    rows = Comparison.load(changed.path / "runs/prism/compare/comparison.json").rows
    assert {(row.panel, row.episodes) for row in rows if not row.skipped} == {("seen", 3), ("unseen", 6)}


@pytest.mark.slow
def test_a_training_killed_in_each_half_ends_with_the_same_policy(finished, checkout_factory):
    """SIGKILL in SFT and again in RL; each start goes on from the last commit, in the end to the very same result."""
    checkout = checkout_factory("killed")
    checkout.compose(*THREE_ARMS)
    for stage in ("demos", "split"):
        shutil.copytree(finished.path / "runs/prism" / stage, checkout.path / "runs/prism" / stage)
    cell = ["--environment", "alfworld", "--method", "prism_gini", "--seed", "0"]
    command = [sys.executable, "-m", "experiments.prism.train", *cell]
    killed = [_kill_at(checkout, command, half) for half in ("sft/", "rl/")]
    assert killed[1].startswith("rl/")
    out = checkout.path / "runs/prism/train/alfworld-prism_gini-0"
    assert not out.exists(), "nothing half-written may stand where the result goes"
    checkout.run(*command)
    reference = finished.path / "runs/prism/train/alfworld-prism_gini-0"
    assert read_json(out / "metrics.json") == read_json(reference / "metrics.json")
    assert (out / "model/model.safetensors").read_bytes() == (reference / "model/model.safetensors").read_bytes()
    assert read_json(out / "metrics.json")["rl"]["iterations"] == 2, "half of the tasks, half of the iterations"
    record = yaml.safe_load((out / "run.yaml").read_text())
    assert record["sessions"] == 3
    counters = ("tokens_trained", "tokens_generated", "environment_steps")
    uncut = yaml.safe_load((reference / "run.yaml").read_text())
    assert {name: record["costs"][name] for name in counters} == {name: uncut["costs"][name] for name in counters}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "sft/loss" in line]
    assert steps == list(range(1, len(steps) + 1)), "a step stands in the curve once"


def _kill_at(checkout, command, half):
    """Starts `command`, kills it when it has committed a checkpoint of `half`, and returns the checkpoint's name."""
    training = subprocess.Popen(
        command, cwd=checkout.path, env=checkout.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while True:
        states = list((checkout.path / ".encore/work").glob("*/state.json"))
        committed = (read_json(states[0])["checkpoint"] or "") if states else ""
        if committed.startswith(half):
            break
        assert training.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(training.pid, signal.SIGKILL)
    training.wait()
    return read_json(states[0])["checkpoint"]


ERRORS = {
    "arm": ("prism.methods=[base,sftt]", "unknown arm 'sftt'"),
    "environment": ("prism.environments=[alfword]", "prism.environments names 'alfword'"),
    "full": ("prism.full=true prism.methods=[base]", "prism.full is true, and prism.methods lacks sft, grpo"),
    "seed": ("prism.seeds=[-1]", "seed -1"),
    "model": ("policy.source=base/none", "there is no such folder"),
    "key": ("+prism.sft.epoch=3", "prism.sft.epoch is no setting"),
    "type": ("prism.sft.epochs=many", "prism.sft.epochs is 'many'"),
    "games": ("alfworld.games=none", "alfworld.games"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_a_user_can_get_wrong_ends_in_one_line(checkout_factory, case):
    override, expected = ERRORS[case]
    checkout = checkout_factory(f"error-{case}")
    checkout.compose(*override.split())
    stage = "probe" if case == "model" else "demos"
    done = checkout.run(sys.executable, "-m", f"experiments.prism.{stage}", "--environment", "alfworld", check=False)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert expected in lines[0]
    assert not (checkout.path / "runs").exists()


def test_a_missing_folder_of_official_games_is_one_line(checkout_factory):
    checkout = checkout_factory("official")
    checkout.compose("alfworld.games=official", "alfworld.path=/nowhere")
    done = checkout.run(sys.executable, "-m", "experiments.prism.demos", "--environment", "alfworld", check=False)
    assert done.returncode == 1
    assert re.search(r"/nowhere", done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
