"""PRISM's stages one by one: every arm through both halves, what they share, and mistakes in one line."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import yaml

from encore import arbitration, profiles
from encore.configuration import build
from encore.errors import UserError
from encore.training.agents import AgentRLSettings
from experiments.prism import split
from experiments.prism.probe import layer_of
from experiments.prism.settings import PassRateSettings, PrismSettings
from experiments.prism.train import rl_settings

ARMS = {  # each arm with what it sends to SFT and to RL, of 24 demonstrations
    "base": (0, 0),
    "sft": (24, 0),
    "grpo": (0, 24),
    "gigpo": (0, 24),
    "hpt_online": (0, 24),
    "sft_then_rl": (24, 24),
    **dict.fromkeys(["random", "hpt", "prism_gini", "prism_kurtosis", "prism_cv", "l2"], (12, 12)),
    **dict.fromkeys(["inverse_gini", "inverse_kurtosis", "inverse_cv"], (12, 12)),
}
STAGES = """
import importlib, pathlib, sys
for line in sys.stdin:
    module, *sys.argv[1:] = line.split()
    if module == "refuse":  # as the split does where an arm cannot be used
        pathlib.Path(sys.argv[1]).write_text('{"not_run": "cannot run here"}')
        continue
    importlib.import_module(f"experiments.prism.{module}").main()
"""


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def played(checkout_factory):
    """Every arm in WebShop, all stages in one process, which imports torch once."""
    checkout = checkout_factory("arms")
    checkout.compose(f"prism.methods=[{','.join(ARMS)}]")
    lines = [f"{stage} --environment webshop" for stage in ("demos", "probe", "pass_rates", "split")]
    lines += [f"train --environment webshop --method {method} --seed 0" for method in ARMS]
    lines.append("evaluate --environment webshop --method hpt_online --seed 0")
    lines.append("refuse runs/prism/split/webshop/loss-0.json")
    lines += [f"{stage} --environment webshop --method loss --seed 0" for stage in ("train", "evaluate")]
    script = checkout.path / ".stages"
    script.write_text("\n".join(lines), encoding="utf-8")
    (checkout.path / ".run.py").write_text(STAGES, encoding="utf-8")
    checkout.run("bash", "-c", f"PYTHONPATH=.:$PYTHONPATH {sys.executable} .run.py < .stages")
    return checkout.path / "runs/prism"


@pytest.mark.slow
@pytest.mark.parametrize("method", ARMS)
def test_an_arm_is_trained_on_its_two_halves(played, method):
    to_sft, to_rl = ARMS[method]
    routes = read_json(played / f"split/webshop/{method}-0.json")
    assert (len(routes["sft"]), len(routes["rl"])) == (to_sft, to_rl)
    folder = played / f"train/webshop-{method}-0"
    result = read_json(folder / "metrics.json")
    record = yaml.safe_load((folder / "run.yaml").read_text())
    phases = {name for name in ("sft", "rollout", "update") if name in record["costs"]["phases"]}
    assert phases == ({"sft"} if to_sft else set()) | ({"rollout", "update"} if to_rl else set())
    assert result.get("examples", 0) == to_sft
    datasets = {entry["name"]: entry for entry in record["datasets"]}
    if to_rl:
        assert result["rl"]["tasks"] == to_rl
        assert result["rl"]["iterations"] == 4 * to_rl / 24
        assert result["rl"]["episodes"] == result["rl"]["iterations"] * 4
        assert f"webshop-{method}-rl" in datasets
        assert ("rollout/sft_share" in result["rl"]["last"]) == (method == "hpt_online")
    source = read_json(folder / "policy.json")["source"]
    assert source == ("base/tiny" if method == "base" else f"runs/prism/train/webshop-{method}-0/model")


@pytest.mark.slow
def test_an_arm_that_is_not_run_passes_its_reason_on(played):
    for stage in ("train", "evaluate"):
        result = read_json(played / f"{stage}/webshop-loss-0/metrics.json")
        assert result["not_run"] == "cannot run here"
    assert not (played / "evaluate/webshop-loss-0/tables").exists()


@pytest.mark.slow
def test_every_trained_arm_is_another_policy(played):
    """Those that begin alike differ in what came after: a half that did nothing would show here."""
    weights = {
        method: (played / f"train/webshop-{method}-0/model/model.safetensors").read_bytes()
        for method in ARMS
        if method != "base"
    }
    # hpt and random, and two metrics, may route alike at this size; these may not.
    distinct = ["sft", "grpo", "gigpo", "hpt_online", "sft_then_rl", "prism_gini", "inverse_gini"]
    assert len({weights[method] for method in distinct}) == len(distinct)


@pytest.mark.slow
def test_pass_rates_are_shares_of_rollouts_in_the_order_of_the_probe(played):
    probe, rates = np.load(played / "probe/webshop/probe.npz"), np.load(played / "pass_rates/webshop/pass_rates.npz")
    assert rates["ids"].tolist() == probe["ids"].tolist()
    assert rates["won"].shape == rates["rewards"].shape == (24, 2)
    assert ((rates["won"] == 0) | (rates["won"] == 1)).all()
    assert (rates["rewards"][rates["won"] == 1] > 0).all()


@pytest.mark.slow
def test_the_probe_knows_layer_and_size_of_each_matrix(played):
    probe = np.load(played / "probe/webshop/probe.npz")
    assert probe["norms"].shape == (24, len(probe["matrices"]))
    layers = probe["matrix_layers"].tolist()
    assert layers == sorted(layers) and layers.count(0) == 7
    down = [place for place, name in enumerate(probe["matrices"]) if name.endswith("down_proj")]
    up = [place for place, name in enumerate(probe["matrices"]) if name.endswith("up_proj")]
    assert (probe["matrix_sizes"][down] == probe["matrix_sizes"][up]).all()
    for column in ("losses", "lengths", "responses", "turns", "task_types"):
        assert len(probe[column]) == 24


@pytest.mark.slow
def test_an_evaluation_continues_the_training(played):
    record = yaml.safe_load((played / "evaluate/webshop-hpt_online-0/run.yaml").read_text())
    trained = yaml.safe_load((played / "train/webshop-hpt_online-0/run.yaml").read_text())
    assert record["continues"]["inputs_hash"] == trained["inputs_hash"]
    rows = (played / "evaluate/webshop-hpt_online-0/tables/episodes.jsonl").read_text().splitlines()
    assert len(rows) == 12


def test_a_layer_is_read_from_the_name_of_its_matrix():
    assert layer_of("model.layers.11.mlp.down_proj") == 11
    assert layer_of("model.projector") == -1


SHARED = AgentRLSettings(iterations=8, tasks_per_iteration=4, group_size=4)


def test_iterations_follow_the_share_of_tasks_unless_steps_are_equal():
    def iterations(method, to_rl):
        return rl_settings(SHARED, arbitration.arm(method), to_rl, 40).iterations

    assert iterations("grpo", 40) == 8
    assert iterations("random", 20) == 4
    assert iterations("random_equal", 20) == 8
    assert iterations("prism_cv_rl10", 4) == 1


def test_only_the_algorithm_of_an_arm_differs_from_the_shared_recipe():
    assert rl_settings(SHARED, arbitration.arm("grpo"), 40, 40) == SHARED
    assert rl_settings(SHARED, arbitration.arm("gigpo"), 40, 40).algorithm == "gigpo"
    online = rl_settings(SHARED, arbitration.arm("hpt_online"), 40, 40)
    assert (online.algorithm, online.kl, online.scale_advantages) == ("hpt", 0.0, False)


def test_an_iteration_of_more_tasks_than_the_arm_has_is_refused():
    with pytest.raises(UserError, match="plays 4 tasks, and 'prism_cv_rl10' sends 3 of 30 to RL"):
        rl_settings(SHARED, arbitration.arm("prism_cv_rl10"), 3, 30)


def probed(folder, norms, rollouts=2):
    """The files that the split stage reads."""
    n, matrices = norms.shape
    ids = np.array([f"task-{place}" for place in range(n)])
    (folder / "probe/alfworld").mkdir(parents=True)
    (folder / "pass_rates/alfworld").mkdir(parents=True)
    columns = {name: np.zeros(n) for name in ("losses", "lengths", "responses", "turns")}
    np.savez(
        folder / "probe/alfworld/probe.npz",
        ids=ids,
        norms=norms,
        matrix_sizes=np.arange(1, matrices + 1),
        task_types=np.array(["look"] * n),
        **columns,
    )
    won = np.zeros((n, rollouts))
    np.savez(folder / "pass_rates/alfworld/pass_rates.npz", ids=ids, won=won, rewards=won)


def run_split(monkeypatch, tmp_path, *methods):
    """What the stage, in `tmp_path`, says of each method."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "profile: smoke\ntracking: {mlflow: off}\n"
        f"prism: {{rl_fraction: 0.5, methods: [{', '.join(methods)}], seeds: [0]}}\n"
    )
    monkeypatch.setattr(sys, "argv", ["split", "--environment", "alfworld"])
    split.main()
    return {method: read_json(tmp_path / f"runs/prism/split/alfworld/{method}-0.json") for method in methods}


@pytest.mark.parametrize(
    ("method", "rollouts", "reason"),
    [
        ("prism_gini", 2, "sends none of the 6 demonstrations of alfworld to RL"),
        ("hpt", 0, "cannot run on alfworld: needs pass_rates"),
    ],
)
def test_an_arm_that_cannot_be_used_says_why_and_the_others_run(
    monkeypatch, tmp_path, capsys, method, rollouts, reason
):
    """Equal norms tie, and ties go to SFT; without rollouts there is nothing that HPT could route by."""
    probed(tmp_path / "runs/prism", np.ones((6, 3)), rollouts)
    found = run_split(monkeypatch, tmp_path, method, "random")
    assert found[method]["not_run"].startswith(reason) and set(found[method]) == {"not_run"}
    assert len(found["random"]["sft"]) == len(found["random"]["rl"]) == 3
    assert f"arm '{method}' will not be run: it {reason}" in capsys.readouterr().out
    rows = (tmp_path / "runs/prism/split/alfworld/tables/splits.jsonl").read_text().splitlines()
    assert [json.loads(row)["method"] for row in rows if "not_run" in row] == [method]


def test_size_normalised_norms_route_otherwise_than_raw_ones(monkeypatch, tmp_path):
    """Of these rows the raw norms are equal in the first half, and the norms by entry in the second."""
    even, by_size = np.ones((4, 3)), np.sqrt(np.tile(np.arange(1, 4), (4, 1)))
    probed(tmp_path / "runs/prism", np.vstack([even, by_size]) + 0.01 * np.random.default_rng(0).random((8, 3)))
    found = run_split(monkeypatch, tmp_path, "prism_gini", "size_normalised")
    assert found["prism_gini"]["sft"] == found["size_normalised"]["rl"] == [f"task-{place}" for place in range(4)]


def test_files_of_other_demonstrations_are_refused(tmp_path):
    probed(tmp_path, np.ones((6, 3)))
    np.savez(tmp_path / "other.npz", ids=np.array(["another"]), won=np.zeros((1, 2)))
    with pytest.raises(UserError, match="are of other demonstrations"):
        split.columns(tmp_path / "probe/alfworld/probe.npz", tmp_path / "other.npz")


def section(tmp_path, *overrides, profile="laptop"):
    """The section prism of a profile."""
    return yaml.safe_load(profiles.compose(profile, list(overrides), tmp_path / "params.yaml").read_text())["prism"]


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu", "paper"])
def test_full_is_one_switch(profile, tmp_path):
    plain = build(PrismSettings, section(tmp_path, profile=profile), "prism")
    full = build(PrismSettings, section(tmp_path, "prism.full=true", profile=profile), "prism")
    assert set(plain.methods) < set(full.methods)
    added = set(full.methods) - set(plain.methods)
    sweep = {f"prism_{metric}_rl{percent}" for metric in ("gini", "cv") for percent in (10, 30, 70, 90)}
    assert added >= sweep | {"prism_gini_equal", "random_equal", "stratified_length", "size_normalised"}
    assert {"inverse_kurtosis", "inverse_cv", "gigpo"} <= set(full.methods)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"full": True}, "prism.full is true, and prism.methods lacks prism_gini_rl10"),
        ({"full": "both"}, "prism.full is false, and prism.methods holds every arm of the full set"),
        ({"full": "yes"}, "prism.full is 'yes': it must be of type bool"),
        ({"methods": ["base", "base"]}, "prism.methods names something twice"),
        ({"methods": ["prism_low"]}, "is now called 'prism_gini'"),
        ({"methods": ["sft_rl30"]}, "sft sends 0% of the examples to RL by definition"),
        ({"environments": ["alfword"]}, "prism.environments names 'alfword'"),
        ({"panels": {"alfworld": {"seen": 1}}}, "prism.environments names 'webshop', of which prism.panels"),
        ({"seeds": []}, "prism.seeds is empty"),
    ],
)
def test_an_edit_that_contradicts_is_one_line(tmp_path, changes, message):
    values = section(tmp_path)
    if changes.get("full") == "both":
        changes = {"methods": values["method_sets"]["full_True"]}
    with pytest.raises(UserError) as caught:
        build(PrismSettings, {**values, **changes}, "prism")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_rollouts_that_would_all_be_alike_are_refused():
    with pytest.raises(UserError, match="temperature is 0"):
        PassRateSettings(temperature=0)
