"""params.yaml, conf/ and dvc.yaml agree with each other and with what the stages read."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

from encore import configuration, profiles
from encore.errors import UserError
from encore.evaluation.settings import EvaluationSettings
from encore.policy import PolicySettings
from encore.tasks.alfworld import AlfworldSettings
from encore.tasks.webshop import WebshopSettings
from experiments.agents.settings import AgentSettings
from experiments.prism.settings import PrismSettings

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ["smoke", "laptop", "gpu", "paper"]
NEVER_A_DEPENDENCY = {"profile", "tracking", "launch"}  # they change no result, so a change of theirs reruns nothing


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_params_are_the_laptop_profile(tmp_path):
    composed = profiles.compose("laptop", output=tmp_path / "params.yaml", conf=ROOT / "conf")
    assert load(composed) == load(ROOT / "params.yaml"), "run `make profile NAME=laptop`"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_valid(profile, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    params = load(profiles.compose(profile, output=tmp_path / "params.yaml", conf=ROOT / "conf"))
    assert params["profile"] == profile
    configuration.build(PrismSettings, params["prism"], "prism")
    configuration.build(AgentSettings, params["agents"], "agents")
    configuration.build(PolicySettings, params["policy"], "policy")
    configuration.build(EvaluationSettings, params["evaluation"], "evaluation")
    configuration.build(AlfworldSettings, params["alfworld"], "alfworld")
    configuration.build(WebshopSettings, params["webshop"], "webshop")
    from experiments.base.pretrain import BaseSettings

    configuration.build(BaseSettings, params["base"], "base")


def test_profiles_differ_in_parameters_only(tmp_path):
    def keys(value, prefix=""):
        if isinstance(value, dict) and not prefix.endswith(("panels.", "backbones.")):
            return {name for key, item in value.items() for name in keys(item, f"{prefix}{key}.")}
        return {prefix}

    composed = [load(profiles.compose(name, output=tmp_path / f"{name}.yaml", conf=ROOT / "conf")) for name in PROFILES]
    assert all(keys(params) == keys(composed[0]) for params in composed)


def test_an_unknown_profile_names_those_there_are():
    with pytest.raises(UserError, match="unknown profile 'laptpo': choose from gpu, laptop, paper, smoke"):
        profiles.compose("laptpo", conf=ROOT / "conf")


def test_a_bad_override_is_one_line(tmp_path):
    with pytest.raises(UserError) as caught:
        profiles.compose("laptop", ["prism.seedz=[1]"], output=tmp_path / "params.yaml", conf=ROOT / "conf")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "params.yaml").exists()


def stages():
    found = load(ROOT / "dvc.yaml")["stages"]
    return [(name, stage) for name, stage in found.items()]


@pytest.mark.parametrize(("name", "stage"), stages(), ids=[name for name, _ in stages()])
def test_a_stage_lists_the_parameters_that_it_reads(name, stage):
    module = importlib.import_module(re.search(r"python -m (\S+)", stage["cmd"]).group(1))
    read = {key.replace("{environment}", "${item.environment}") for key in module.PARAMS} - NEVER_A_DEPENDENCY
    listed = set(stage.get("params", [])) - {"profile"}
    assert listed == read


@pytest.mark.parametrize(("name", "stage"), stages(), ids=[name for name, _ in stages()])
def test_a_stage_lists_code_that_exists(name, stage):
    for path in stage["deps"]:
        if path.startswith("runs/"):
            continue
        for environment in ("alfworld", "webshop"):
            assert (ROOT / path.replace("${item.environment}", environment)).exists(), path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochz": 3}, "prism.sft.epochz is no setting"),
        ({"epochs": "three"}, "prism.sft.epochs is 'three': it must be a number"),
        ({"effective_batch": 1.5}, "prism.sft.effective_batch is 1.5: it must be of type int"),
        ({"learning_rate": -1.0}, "sft.learning_rate is -1.0"),
    ],
)
def test_errors_name_the_key(values, message):
    from encore.training import SFTSettings

    with pytest.raises(UserError, match=re.escape(message)):
        configuration.build(SFTSettings, values, "prism.sft")


def test_read_takes_the_keys_and_nothing_else(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: {b: 1, c: 2}\nd: 3\n")
    assert configuration.read(["a.b", "d"], path) == {"a": {"b": 1}, "d": 3}
    with pytest.raises(UserError, match=r"has no 'a\.x'"):
        configuration.read(["a.x"], path)
