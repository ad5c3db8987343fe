"""Whole plans: every paper at the scales that matter, and what is refused."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from encore import cli
from encore.errors import UserError
from encore.planning import plan, stages, text

ROOT = Path(__file__).resolve().parents[3]
PAPERS = ("agents", "g2is", "maestro", "prism")
BACKBONES = {
    "prism": ["Qwen3-8B", "Llama-3.1-8B-Instruct"],
    "g2is": ["Llama-3.1-8B", "Gemma-7B", "Mistral-7B"],
    "maestro": ["Qwen3-8B", "Llama-3.1-8B-Instruct"],
    "agents": ["Qwen3-8B", "Llama-3.1-8B-Instruct"],
}
LIMIT_S = 40.0


@pytest.fixture(scope="module", autouse=True)
def in_the_checkout() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


@pytest.fixture(scope="module")
def made() -> tuple[dict[tuple[str, str], plan.Plan], float]:
    """All plans with all their small models, and the processor time of them, imports of libraries left out."""
    import encore.training.agents.trainer
    import encore.training.conductor.trainer
    import encore.training.supervised  # noqa: F401

    before = ROOT.joinpath("params.yaml").read_bytes()
    began = time.process_time()
    found = {(paper, profile): plan.make(paper, profile) for paper in PAPERS for profile in ("laptop", "paper")}
    spent = time.process_time() - began
    assert ROOT.joinpath("params.yaml").read_bytes() == before
    return found, spent


def test_all_plans_are_made_in_time(made: tuple[dict[tuple[str, str], plan.Plan], float]) -> None:
    assert made[1] < LIMIT_S


@pytest.mark.parametrize("paper", PAPERS)
def test_the_paper_profile_has_the_papers_backbones(made: tuple, paper: str) -> None:
    found = made[0][paper, "paper"]
    assert [one.name for one in found.backbones] == BACKBONES[paper]
    for one in found.backbones:
        classes = [built.how.partition("ForCausalLM")[0] for built in one.built if built.what == "model"]
        assert classes == [one.architecture]
        assert one.device == "GPU" and one.device_h > 0 and one.disk > 1e9
        assert all("assumed" in phase.basis for stage in one.stages for phase in stage.phases)


@pytest.mark.parametrize("profile", ["laptop", "paper"])
@pytest.mark.parametrize("paper", PAPERS)
def test_every_stage_of_dvc_is_in_the_plan(made: tuple, paper: str, profile: str) -> None:
    """In dvc.yaml's order, with the cells that DVC itself finds (for the profile that params.yaml holds)."""
    import yaml

    there = [name for name in yaml.safe_load(Path("dvc.yaml").read_text())["stages"] if name.startswith(f"{paper}.")]
    for one in made[0][paper, profile].backbones:
        assert [stage.name for stage in one.stages] == there
        assert all(stage.estimate != plan.NO_ESTIMATE for stage in one.stages), "a stage has no rule in plan.py"


def test_cells_are_those_that_dvc_resolves() -> None:
    import yaml
    from dvc.repo import Repo

    params = yaml.safe_load(Path("params.yaml").read_text())
    resolved = [stage.addressing for stage in Repo().index.stages]
    for paper in PAPERS:
        for stage in stages.stages_of(paper, params):
            own = [name for name in resolved if name.partition("@")[0] == stage.name]
            assert len(own) == len(stage.cells), stage.name


def test_prism_sends_half_to_rl_and_costs_what_its_share_says(made: tuple) -> None:
    """GRPO explores every task and `random` half of them: half the iterations, half the tokens."""
    qwen = made[0]["prism", "paper"].backbones[0]
    by_run = {run["name"]: run["plan_gpu_h"] for run in qwen.reported}
    printed = {run["name"]: run["paper_gpu_h"] for run in qwen.reported}
    assert printed["alfworld grpo"] == pytest.approx(8 * (36 + 13 / 60))
    assert 0.5 < by_run["alfworld random"] / by_run["alfworld grpo"] < 0.75


def test_prism_fits_the_machine_of_the_paper_and_starts_itself_there(made: tuple) -> None:
    """Sharded over its 8 GPUs, with vLLM beside it; Llama has HPT's gate of 2 in 8."""
    for one in made[0]["prism", "paper"].backbones:
        verdicts = {fit["phase"]: fit["verdict"] for fit in one.fits}
        assert set(verdicts.values()) == {"fits one GPU", "fits, FSDP on 8"}
        assert verdicts["SFT"] == verdicts["RL, rollout"] == "fits, FSDP on 8"
        (train,) = [stage for stage in one.stages if stage.name == "prism.train"]
        assert "--config_file conf/accelerate/fsdp.yaml --num_processes 8" in train.launch and train.several
        built = {made.what: made.how for made in one.built}
        assert "8 processes, FSDP 2" in built["launcher"]
        assert "vllm_mode colocate" in built["engine of rollouts (vllm_colocated)"]
        assert ("prism.rl.webshop.gamma=0.25" in one.overrides) == (one.name == "Llama-3.1-8B-Instruct")
    assert not made[0]["prism", "laptop"].backbones[0].stages[4].several


def test_maestro_starts_itself_sharded_on_the_machine_of_the_paper(made: tuple) -> None:
    """Beside the shards each process holds a reward model, and the reference or the copy that answers."""
    for one in made[0]["maestro", "paper"].backbones:
        (train,) = [stage for stage in one.stages if stage.name == "maestro.train"]
        assert "--config_file conf/accelerate/fsdp.yaml --num_processes 8" in train.launch and train.several
        assert "8 processes, FSDP 2" in {made.what: made.how for made in one.built}["launcher"]
        fits = {fit["phase"]: fit for fit in one.fits}
        assert {fit["verdict"] for fit in fits.values()} == {"fits, FSDP on 8"}
        for phase in ("GRPO, update", "GRPO, rollout"):
            parts = fits[phase]["parts_gb"]
            assert parts["copies"] == parts["engine"] == pytest.approx(2 * one.parameters / 1e9)


def test_a_stage_without_a_rule_is_listed(tmp_path: Path) -> None:
    pipeline = tmp_path / "dvc.yaml"
    pipeline.write_text(
        "stages:\n  agents.new:\n    matrix: {seed: '${agents.seeds}'}\n    cmd: run ${item.seed}\n"
        "  agents.each:\n    foreach: ['one', 'two']\n    do: {cmd: 'run ${item}'}\n"
    )
    found = plan.make("agents", "laptop", build=False, pipeline=pipeline)
    new, each = found.backbones[0].stages
    assert (new.name, new.cells, new.estimate) == ("agents.new", 3, plan.NO_ESTIMATE) and each.cells == 2
    assert "agents.new, agents.each" in text.as_text(found) or "agents.each, agents.new" in text.as_text(found)


def test_a_rate_gives_a_price_and_json_says_all() -> None:
    found = plan.make("agents", "laptop", ["tracking.price_per_device_hour=2.0"], build=False)
    content = json.loads(text.as_json(found))
    assert content["price"] == pytest.approx(2.0 * content["device_h"]) and content["device_h"] > 0
    assert content["backbones"][0]["stages"][0]["name"] == "agents.start"


def test_bfloat16_weights_that_cannot_move_are_warned_of(made: tuple) -> None:
    """Half a step between neighbours of 1/64 is 6.1e-5: a learning rate of 1e-6 changes nothing."""
    warnings = plan.make("prism", "paper", ["policy.dtype=bfloat16"], build=False).backbones[0].warnings
    assert any("policy.dtype bfloat16" in line and "6.1e-05" in line for line in warnings)
    for profile in ("laptop", "paper"):
        assert not any("policy.dtype bfloat16" in line for line in made[0]["prism", profile].backbones[0].warnings)


BROKEN = [
    ("prism", "prism.methods=[base,prism_gni]", "prism.methods"),
    ("prism", "prism.sft.packin=true", "packin"),
    ("g2is", "g2is.methods=[base,lss]", "g2is.methods"),
    ("g2is", "g2is.targets=[astrology]", "g2is.targets"),
    ("maestro", "maestro.benchmarks.names=[poetry]", "maestro.benchmarks.names"),
    ("maestro", "maestro.rewards.names=[format,beauty]", "maestro.rewards.names"),
    ("agents", "agents.rl.alfworld.group_size=1", "rl.group_size"),
    ("agents", "+planning.mfu_train=2.0", "planning.mfu_train"),
]


@pytest.mark.parametrize(("paper", "override", "key"), BROKEN)
def test_a_setting_that_is_refused_is_named(paper: str, override: str, key: str) -> None:
    with pytest.raises(UserError, match=key.replace(".", r"\.")):
        plan.make(paper, "laptop", [override if "packin" not in override else f"+{override}"], build=False)


def test_a_broken_conf_is_refused(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree("conf", conf)
    profile = conf / "profile" / "laptop.yaml"
    profile.write_text(profile.read_text().replace("methods: ${oc.select", "methodes: ${oc.select", 1))
    with pytest.raises(UserError, match="methodes"):
        plan.make("prism", "laptop", build=False, conf=conf)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["poetry"], "unknown paper 'poetry'"), (["agents", "--profile", "moon"], "unknown profile 'moon'")],
)
def test_errors_are_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *arguments]) == 1
    shown = capsys.readouterr().err.strip().splitlines()
    assert len(shown) == 1 and said in shown[0]


def test_the_command_prints_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "agents", "--profile", "laptop", "--no-build"]) == 0
    shown = capsys.readouterr().out
    for part in ("agents.train", "### Assumptions", "## Totals", "Price: no rate"):
        assert part in shown
