"""The experiments with agents run from the start policy to the table, in both environments, at the smoke scale."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

STAGES = """
import importlib, sys
for line in sys.stdin:
    module, *sys.argv[1:] = line.split()
    importlib.import_module(f"experiments.agents.{module}").main()
"""


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def played(checkout_factory):
    """All stages in one process, which imports torch once."""
    checkout = checkout_factory("agents")
    checkout.compose()
    lines = []
    for environment in ("alfworld", "webshop"):
        lines.append(f"start --environment {environment}")
        cell = f"--environment {environment} --algorithm grpo --seed 0"
        lines += [f"train {cell}", f"evaluate {cell}"]
    lines += ["compare", "sweep --environment alfworld"]
    script = checkout.path / ".stages"
    script.write_text("\n".join(lines), encoding="utf-8")
    checkout.run("bash", "-c", f"{sys.executable} -c '{STAGES}' < .stages")
    return checkout


@pytest.mark.slow
def test_the_table_says_what_training_adds(played):
    runs = played.path / "runs/agents"
    table = read_json(runs / "compare/comparison.json")
    cells = {(row["environment"], row["panel"], row["metric"], row["policy"]): row for row in table}
    panels = {"alfworld": ("seen", "unseen"), "webshop": ("test", "unseen")}
    metrics = {"alfworld": ("success",), "webshop": ("success", "score")}
    assert set(cells) == {
        (environment, panel, metric, policy)
        for environment in panels
        for panel in panels[environment]
        for metric in metrics[environment]
        for policy in ("start", "grpo")
    }
    for (environment, panel, metric, policy), row in cells.items():
        if policy == "grpo":
            start = cells[environment, panel, metric, "start"]
            assert row["gain"] == pytest.approx(row["mean"] - start["mean"])
            assert row["gain_low"] <= row["gain"] <= row["gain_high"]
            assert row["rollout_s"] > 0 and row["update_s"] > 0
    text = (runs / "compare/comparison.md").read_text(encoding="utf-8")
    assert text.count("\n") == 2 + len(table)


@pytest.mark.slow
def test_every_episode_and_curve_is_kept(played):
    runs = played.path / "runs/agents"
    for environment, own in (("alfworld", "unseen"), ("webshop", "test")):
        folder = runs / f"evaluate/{environment}-grpo-0"
        rows = [json.loads(line) for line in (folder / "tables/episodes.jsonl").read_text().splitlines()]
        assert len(rows) == 12 and sum(row["panel"] == own for row in rows) == 6
        won = [bool(row["won"]) for row in rows if row["panel"] == own]
        assert read_json(folder / "metrics.json")[own]["success"] == pytest.approx(sum(won) / 6)
        trained = runs / f"train/{environment}-grpo-0"
        lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "rollout/success" in line] == [1, 2]
        record = yaml.safe_load((trained / "run.yaml").read_text())
        assert set(record["costs"]["phases"]) >= {"rollout", "update"}
        assert record["costs"]["environment_steps"] == pytest.approx(
            sum(line["rollout/steps"] * 4 for line in lines if "rollout/steps" in line)
        )


@pytest.mark.slow
def test_a_sweep_judges_every_trial_beside_the_start(played):
    rows = read_json(played.path / "runs/agents/sweep/alfworld/trials.json")
    assert [row["trial"] for row in rows] == ["the start", "nothing", "temperature=0.7"]
    assert all(0 <= row["success"] <= 1 for row in rows)
    assert [len(row["curves"]) for row in rows[1:]] == [1, 1]
    # Each trial begins from the start, so the same tasks and draws at another temperature differ from the first on.
    assert rows[1]["entropy"] != rows[2]["entropy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("agents.algorithms=[ppo]", "agents.algorithms names 'ppo': choose from grpo, gigpo"),
        ("agents.rl.alfworld.max_steps=0", "rl.max_steps is 0: it must be at least 1, or null"),
        ("agents.rl.alfworld.group_size=1", "an advantage needs at least 2 episodes of a task"),
    ],
)
def test_bad_settings_end_in_one_line(played, override, message):
    played.compose(override)
    try:
        command = (sys.executable, "-m", "experiments.agents.compare")
        failed = played.run(*command, check=False)
        assert failed.returncode == 1
        assert message in failed.stderr and "Traceback" not in failed.stderr
    finally:
        played.compose()
