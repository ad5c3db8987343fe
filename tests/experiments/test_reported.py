"""The numbers of the papers: every one is there, follows from whole counts, and mistakes are told in one line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from encore.report.reported import ReportedError, ReportedNumbers, load, seconds

PATH = Path(__file__).resolve().parents[2] / "experiments/prism/reported.yaml"
ARMS = ["base", "sft", "grpo", "gigpo", "random", "hpt", "sft_then_rl", "prism_gini", "prism_kurtosis", "prism_cv"]


@pytest.fixture(scope="module")
def prism() -> ReportedNumbers:
    return load(PATH)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("alfworld", "base", "seen", "success", None), 9.38),
        (("alfworld", "sft", "seen", "success", "pick_two_obj_and_place"), 28.57),
        (("alfworld", "grpo", "unseen", "success", "pick_clean_then_place_in_recep"), 92.31),
        (("alfworld", "prism_gini", "unseen", "success", None), 79.69),
        (("alfworld", "l2", "seen", "success", None), 90.63),
        (("webshop", "prism_cv", "test", "success", None), 61.74),
        (("webshop", "l2", "test", "score", None), 79.75),
        (("alfworld", "prism_gini", "cost", "probe_wall_s", None), 136.0),
        (("alfworld", "grpo", "cost", "total_wall_s", None), 36 * 3600 + 13 * 60),
        (("webshop", "prism_kurtosis", "cost", "speedup", None), 1.95),
    ],
)
def test_lookup(prism: ReportedNumbers, place: tuple[str, str, str, str, str | None], value: float) -> None:
    found = prism.lookup(*place)
    assert found is not None and found.value == value and found.source.startswith("Table") and found.warning


def test_every_cell_of_the_tables_is_there(prism: ReportedNumbers) -> None:
    for arm in ARMS:
        for panel in ("seen", "unseen"):
            assert prism.lookup("alfworld", arm, panel, "success") is not None
            for task_type in prism.content["task_types"].values():
                assert prism.lookup("alfworld", arm, panel, "success", task_type) is not None
        for backbone in ("Qwen3-8B", "Llama-3.1-8B-Instruct"):
            for metric in ("success", "score"):
                assert prism.lookup("webshop", arm, "test", metric, backbone=backbone) is not None
    assert prism.lookup("webshop", "base", "test", "success", backbone="Llama-3.1-8B-Instruct").value == 1.56  # type: ignore[union-attr]
    times = sum(key[2] == "cost" for key in prism.values)
    assert times == 2 * (3 + 4 + 5 + 5 + 5)  # GRPO has no probe and no SFT, Random no probe
    cells = sum(len(by_backbone) for by_backbone in prism.values.values())
    assert cells == 2 * 10 * 7 + 2 * 10 * 2 + times + 2  # Table 4 adds the two of the magnitude arm


def test_what_is_not_printed_is_none_and_says_why(prism: ReportedNumbers) -> None:
    assert prism.lookup("alfworld", "inverse_gini", "seen", "success") is None
    assert prism.lookup("webshop", "base", "test", "success", backbone="Gemma") is None
    assert prism.backbones() == ["Qwen3-8B", "Llama-3.1-8B-Instruct"]
    assert prism.lookup("alfworld", "grpo", "cost", "sft_wall_s") is None
    assert prism.reason("inverse_gini") == "shown in Figure 3, no number"
    assert prism.reason("prism_cv_rl30") == "shown in Figure 4, no number"
    assert prism.reason("stratified_type") == "not printed in the paper"


def test_a_setting_keeps_an_arm_from_the_number_of_its_namesake(tmp_path: Path) -> None:
    """A random half without RL is not the paper's Random; its setting says which arms have a number."""
    content = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    content["settings"]["alone"] = {"text": "SFT alone.", "methods": ["sft"], "reason": "the paper adds RL"}
    path = tmp_path / "reported.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    numbers = load(path)
    assert numbers.lookup("alfworld", "random", "seen", "success", setting="alone") is None
    assert numbers.lookup("alfworld", "sft", "seen", "success", setting="alone").value == 45.31  # type: ignore[union-attr]
    assert numbers.reason("random", "alone") == "the paper adds RL"
    with pytest.raises(KeyError):
        numbers.lookup("alfworld", "sft", "seen", "success", setting="other")


def test_rates_are_whole_counts_of_the_panel(prism: ReportedNumbers) -> None:
    """That every rate is k / 128 is what the warnings rest on; 61.74 is the one exception, as they say."""
    odd = set()
    for (environment, method, panel, metric, task_type), by_backbone in prism.values.items():
        for value in by_backbone.values():
            if metric == "success" and task_type is None:
                count = round(value.value * 1.28)
                if abs(100 * count / 128 - value.value) > 0.00501:
                    odd.add((environment, method, panel, value.value))
    assert odd == {("webshop", "prism_cv", "test", 61.74)}


def test_cells_fit_the_derived_compositions(prism: ReportedNumbers) -> None:
    """Counts by type that reproduce every printed cell and the total: an independent check of what was typed in."""
    types, derived = prism.content["task_types"], prism.content["derived"]
    panels = [("unseen", arm, derived["unseen_composition"]) for arm in ARMS]
    panels += [("seen", arm, composition) for arm, composition in derived["seen_composition"].items()]
    for panel, arm, composition in panels:
        assert sum(composition.values()) == 128
        won = 0
        for name, games in composition.items():
            cell = prism.lookup("alfworld", arm, panel, "success", types[name])
            assert cell is not None
            count = round(cell.value * games / 100)
            assert 100 * count / games == pytest.approx(cell.value, abs=0.00501), (panel, arm, name)
            won += count
        total = prism.lookup("alfworld", arm, panel, "success")
        assert total is not None and 100 * won / 128 == pytest.approx(total.value, abs=0.00501), (panel, arm)


def test_times_add_up_to_the_printed_speedups(prism: ReportedNumbers) -> None:
    for environment in ("webshop", "alfworld"):
        base = prism.lookup(environment, "grpo", "cost", "total_wall_s")
        for arm in ("random", "prism_cv", "prism_gini", "prism_kurtosis"):
            total = prism.lookup(environment, arm, "cost", "total_wall_s")
            speedup = prism.lookup(environment, arm, "cost", "speedup")
            assert base and total and speedup
            assert base.value / total.value == pytest.approx(speedup.value, abs=0.02)  # minutes are rounded


def test_claims_name_arms_with_numbers_or_say_that_there_are_none(prism: ReportedNumbers) -> None:
    assert len({(claim.id, claim.panel) for claim in prism.claims}) == len(prism.claims)
    for claim in prism.claims:
        numbers = [
            prism.lookup(claim.environment, arm, claim.panel, claim.metric, setting=claim.setting)
            for arm in (claim.a, claim.b)
        ]
        assert all(numbers) == (claim.basis == "reported"), claim
        if numbers[0] and numbers[1]:
            assert numbers[0].value > numbers[1].value, claim  # what the paper claims is what its table shows
    assert {claim.id for claim in prism.claims_of("full", ["base", "sft", "l2"])} == {"alf-sft-base", "web-sft-base"}


def test_claims_about_time_are_what_table_3_shows(prism: ReportedNumbers) -> None:
    assert {claim.environment for claim in prism.cost_claims} == {"alfworld", "webshop"}
    for claim in prism.cost_claims:
        total = prism.lookup(claim.environment, claim.a, "cost", "total_wall_s")
        assert total is not None
        if claim.kind == "probe_share":
            probe = prism.lookup(claim.environment, claim.a, "cost", "probe_wall_s")
            assert probe is not None and probe.value / total.value < claim.bound == 0.02
            continue
        other = prism.lookup(claim.environment, claim.b, "cost", "total_wall_s")
        assert (other is None) == (claim.source == "not printed")
        assert other is None or total.value < other.value


def test_durations() -> None:
    assert [seconds(text) for text in ("36h13m", "1m48s", "8m", "2s")] == [130380.0, 108.0, 480.0, 2.0]
    for text in ("", "8", "8 min", "13m2h"):
        with pytest.raises(ValueError, match="duration"):
            seconds(text)


def change(path: list[Any], value: Any) -> Callable[[dict], None]:
    def edit(content: dict) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(["blocks", 0, "rows", "base"], [1, 2]), "row base has 2 cells for 7 columns"),
        (change(["blocks", 0, "rows", "who"], [0] * 7), "not under methods"),
        (change(["blocks", 0, "unit"], "euros"), "choose from percent"),
        (change(["blocks", 0, "rows", "base", 0], 139.29), "no value in percent"),
        (change(["blocks", 0, "rows", "base", 0], "many"), "holds 'many'"),
        (change(["blocks", 4, "rows", "grpo", 2], "long"), "no duration"),
        (change(["blocks", 0, "warnings"], ["none_such"]), "not under warnings"),
        (change(["blocks", 0, "columns", 0], {"task_type": "Slice"}), "not under task_types"),
        (change(["blocks", 0, "source"], None), "has no 'source'"),
        (change(["blocks", 7, "rows", "prism_gini"], [90.0]), "Table 1"),
        (change(["deltas", 0, "value"], 12.0), "the tables 10.16"),
        (change(["deltas", 0, "a"], "inverse_gini"), "no block holds"),
        (change(["claims", 0, "basis"], "hope"), "has basis 'hope'"),
        (change(["claims", 0, "setting"], "half"), "not under settings"),
        (change(["claims", 0, "b"], "who"), "not under methods"),
        (change(["cost_claims", 0, "kind"], "cheaper"), "has kind 'cheaper'"),
        (change(["cost_claims", 0, "b"], None), "has no 'b'"),
        (change(["cost_claims", 0, "a"], "who"), "not under methods"),
        (change(["figures", 0, "methods"], ["who"]), "not under methods"),
        (change(["blocks"], None), "has no 'blocks'"),
    ],
)
def test_mistakes_are_told_in_one_line(edit: Callable[[dict], None], message: str, tmp_path: Path) -> None:
    content = copy.deepcopy(yaml.safe_load(PATH.read_text(encoding="utf-8")))
    edit(content)
    path = tmp_path / "reported.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ReportedError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("text", ["{", "- a", "a: [1"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "reported.yaml"
    path.write_text(text)
    with pytest.raises(ReportedError) as error:
        load(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ReportedError, match="no such file"):
        load(tmp_path / "absent.yaml")
