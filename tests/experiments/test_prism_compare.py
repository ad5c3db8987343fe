"""prism.compare on invented outputs of the earlier stages: every table of the paper, partial runs, what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encore import profiles
from encore.errors import UserError
from encore.report import html
from encore.report.cells import Table
from encore.report.comparison import Comparison, Meta, Row
from encore.report.reported import ReportedNumbers, load
from encore.report.sections import Section
from encore.report.verdict import NOT_RUN, OTHER_SCALE, RULE, VERDICTS
from experiments.prism import collect, compare, costs, diagnosis, pairs, tables
from experiments.prism.settings import PrismSettings
from tests.experiments.prism_tree import LAPTOP, PANELS, Tree

ROOT = Path(__file__).resolve().parents[2]
PAPER = ["base", "sft", "grpo", "gigpo", "random", "hpt", "sft_then_rl", "prism_gini", "prism_kurtosis", "prism_cv"]


@pytest.fixture(scope="module")
def numbers() -> ReportedNumbers:
    return load(ROOT / "experiments/prism/reported.yaml")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both environments, fifteen arms, two seeds; do not change it."""
    return Tree(tmp_path_factory.mktemp("full")).write().root


def meta(**changes: Any) -> Meta:
    plain = Meta("prism", "PRISM", "smoke", "base/tiny", "Qwen3-8B", "2026-01-01", "abc", "dvc repro", "a machine")
    return dataclasses.replace(plain, notes=[], rule=list(RULE), **changes)


def settings_of(environments: tuple[str, ...], methods: tuple[str, ...], seeds: tuple[int, ...]) -> PrismSettings:
    """Only what the comparison reads; the recipes of training are checked elsewhere."""
    made = object.__new__(PrismSettings)
    for name, value in (("environments", environments), ("methods", methods), ("seeds", seeds)):
        object.__setattr__(made, name, list(value))
    return made


def compared(
    root: Path,
    numbers: ReportedNumbers,
    monkeypatch: pytest.MonkeyPatch,
    environments: tuple[str, ...] = ("alfworld", "webshop"),
    methods: tuple[str, ...] = LAPTOP,
    seeds: tuple[int, ...] = (0, 1),
    **changes: Any,
) -> Comparison:
    monkeypatch.chdir(root)
    return compare.compare(settings_of(environments, methods, seeds), numbers, meta(**changes))


@pytest.fixture(scope="module")
def full(written: Path, numbers: ReportedNumbers) -> Comparison:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return compared(written, numbers, monkeypatch)


def table(sections: list[Section], name: str) -> Table:
    return next(section for section in sections if isinstance(section, Table) and section.id == name)


def row(comparison: Comparison, environment: str, method: str, panel: str, metric: str = "success") -> Row:
    key = (environment, method, panel, metric)
    return next(r for r in comparison.rows if (r.environment, r.method, r.panel, r.metric) == key)


def test_every_table_and_figure_of_the_paper_is_on_the_page(full: Comparison, numbers: ReportedNumbers) -> None:
    sections = compare.layout(full, numbers)
    names = [section.id for section in sections]
    assert len(names) == len(set(names))
    for name in ("claims", "table1", "table1types", "table2", "table3", "costclaims", "table4", "figure3", "figure4"):
        assert name in names
    assert {"tests", "correlations", "agreements", "mass", "shares", "figure3plot"} <= set(names)
    assert "figure4plot" not in names  # the sweep was off
    page = html.render(full, sections)
    for value in ("95.31", "79.69", "64.84", "85.15", "68.75", "3.22×", "36 h 13 min", "90.63", "79.75"):
        assert value in page, value
    assert "How verdicts are reached" in page


def test_three_columns_with_interval_and_number_of_seeds(full: Comparison, numbers: ReportedNumbers) -> None:
    table_1 = table(compare.layout(full, numbers), "table1")
    assert [column.name for column in table_1.columns[1:6]] == [
        "Reported, %", "Reproduced, %", "95 % interval", "Seeds", "Verdict",
    ]  # fmt: skip
    arms = [cells[0].text for cells in table_1.groups[0].rows]
    assert len(arms) == 11  # the ten of Table 1 and L2, of Table 4
    gini = next(cells for cells in table_1.groups[0].rows if cells[0].text == "PRISM Gini")
    found = row(full, "alfworld", "prism_gini", "seen")
    assert gini[1].text == "95.31" and gini[4].text == "2" and gini[5].text == OTHER_SCALE
    assert gini[2].text == f"{100 * found.mean:.1f}"  # type: ignore[operator]
    assert all(cells[5].text == OTHER_SCALE for cells in table_1.groups[0].rows)


def test_every_row_comes_from_its_episodes(full: Comparison, written: Path) -> None:
    for found in full.rows:
        if not found.seeds:
            continue
        for seed, mean in zip(found.seeds, found.per_seed, strict=True):
            path = written / f"runs/prism/evaluate/{found.environment}-{found.method}-{seed}/tables/episodes.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            values = [r["won" if found.metric == "success" else "reward"] for r in rows if r["panel"] == found.panel]
            assert mean == pytest.approx(np.mean(values))
            assert len(values) == PANELS[found.environment][found.panel]
        assert found.mean == pytest.approx(np.mean(found.per_seed))


def test_claims_use_the_four_words_and_a_clear_lead_is_reproduced(full: Comparison) -> None:
    assert {claim.verdict for claim in full.claims} <= set(VERDICTS)
    by_id = {claim.id: claim for claim in full.claims}
    assert by_id["alf-sft-base/seen"].verdict == "reproduced"
    assert by_id["web-gini-inverse/test"].basis == "figure" and by_id["web-gini-inverse/test"].difference is not None
    assert by_id["web-ratio-30/test"].verdict == NOT_RUN
    assert by_id["alf-gini-loss/seen"].verdict == NOT_RUN  # a control that is not in prism.methods
    corrected = {
        (t.environment, t.panel, t.metric, t.a, t.b): t.adjusted_p
        for t in full.tests
        if t.family in (pairs.CLAIMS, pairs.IMPLIED)
    }
    for claim in full.claims:  # one correction: a claim and its test show the same p
        key = (claim.environment, claim.panel, claim.metric, claim.a, claim.b)
        assert claim.adjusted_p == pytest.approx(corrected[key]) if key in corrected else claim.adjusted_p is None
        if claim.verdict == "reproduced":
            assert claim.low is not None and claim.low > 0 and claim.adjusted_p is not None and claim.adjusted_p <= 0.05


def test_the_best_baseline_is_the_one_with_the_highest_mean(full: Comparison) -> None:
    for environment, panels in PANELS.items():
        for panel in panels:
            best = pairs.best_baseline(full.rows, environment, panel, "success")
            assert best is not None
            means = [row(full, environment, method, panel).mean for method in pairs.BASELINES]
            assert best.mean == max(mean for mean in means if mean is not None)
            against = [
                test
                for test in full.tests
                if (test.environment, test.panel, test.metric, test.family)
                == (environment, panel, "success", pairs.BEST)
            ]
            assert {(test.a, test.b) for test in against} == {
                (f"prism_{name}", best.method) for name in pairs.CONCENTRATION
            }
            assert all(test.adjusted_p is not None and test.adjusted_p >= test.bootstrap_p for test in against)
    scores = [test for test in full.tests if test.metric == "score"]
    assert scores and all(test.clustered_p is None for test in scores)


def test_costs_are_charged_to_the_arms_that_need_them(full: Comparison) -> None:
    by = {(cost.environment, cost.method): cost for cost in full.costs}
    for method in LAPTOP:
        cost = by["webshop", method]
        assert ("probe" in cost.wall_s) == method.startswith(("prism", "inverse", "l2")), method
        assert ("pass_rates" in cost.wall_s) == (method == "hpt"), method
        assert "other" not in cost.wall_s and "tracking" not in cost.wall_s
    gini, grpo, base = by["webshop", "prism_gini"], by["webshop", "grpo"], by["webshop", "base"]
    assert base.training_s == 0.0 or base.training_s is None
    halves = (40 + 25 + 35) / 2
    assert gini.training_per_seed_s == pytest.approx([2 + halves, 2 + 1.1 * halves])
    assert grpo.training_s == pytest.approx(60 * 1.05)
    assert gini.wall_s["evaluate"] == 500.0 and gini.environment_steps == 200  # the evaluation's 9,000 are left out
    assert by["webshop", "hpt"].environment_steps == 240 + 200


def test_table_3_has_both_speedups_and_the_share_of_the_probe(full: Comparison, numbers: ReportedNumbers) -> None:
    made = costs.table_3(full, numbers)
    names = [column.name for column in made.columns]
    group = next(group for group in made.groups if group.heading == "WebShop")
    gini = next(cells for cells in group.rows if cells[0].text == "PRISM Gini")
    total = 2 + 1.05 * 50
    assert gini[names.index("Over GRPO")].text == f"{63 / total:.2f}×"
    assert gini[names.index("Over SFT-then-RL")].text == f"{105 / total:.2f}×"
    assert gini[names.index("its share, %")].text == f"{200 / total:.1f}"
    assert "3 h 19 min" in gini[names.index("Total")].detail
    assert "Base" not in [cells[0].text for cells in group.rows]  # it trains nothing
    claim = next(c for c in full.cost_claims if c.id == "web-probe-share")
    assert claim.value == pytest.approx(2 / total) and claim.verdict == "not reproduced"


def test_figure_3_and_4_say_what_was_not_run(full: Comparison) -> None:
    figure_3 = tables.figure_3(full)
    webshop = next(group for group in figure_3.groups if group.heading == "WebShop · test")
    assert [cells[0].text for cells in webshop.rows] == ["Gini", "Kurtosis", "CV"]
    assert all(cells[5].text in VERDICTS for cells in webshop.rows)
    figure_4 = tables.figure_4(full)
    cells = {line[0].text: line for line in figure_4.groups[0].rows}
    assert cells["30 %"][1].text == NOT_RUN and cells["50 %"][1].text != NOT_RUN
    skipped = row(full, "webshop", "prism_cv_rl30", "test")
    assert "prism.full=true" in skipped.skipped and skipped.verdict == NOT_RUN


def test_the_sweep_is_drawn_where_it_ran(tmp_path: Path, numbers: ReportedNumbers, monkeypatch: Any) -> None:
    methods = ("sft", "grpo", "prism_cv", *(f"prism_cv_rl{percent}" for percent in (10, 30, 70, 90)))
    Tree(tmp_path, ("webshop",), methods, (0,)).write()
    found = compared(tmp_path, numbers, monkeypatch, ("webshop",), methods, (0,))
    sections = compare.layout(found, numbers)
    assert "figure4plot" in [section.id for section in sections]
    claim = next(claim for claim in found.claims if claim.id == "web-ratio-30/test")
    assert claim.verdict != NOT_RUN
    assert "30 % RL" in row(found, "webshop", "prism_cv_rl30", "test").label


def test_one_environment_and_an_arm_without_output(tmp_path: Path, numbers: ReportedNumbers, monkeypatch: Any) -> None:
    Tree(tmp_path, ("alfworld",), ("base", "sft", "random", "prism_gini"), (0,)).write()
    shutil.rmtree(tmp_path / "runs/prism/evaluate/alfworld-random-0")
    found = compared(tmp_path, numbers, monkeypatch, ("alfworld",), ("base", "sft", "random", "prism_gini"), (0,))
    assert row(found, "alfworld", "random", "seen").skipped == collect.NOT_STARTED
    assert row(found, "alfworld", "hpt", "seen").skipped == "it is not in prism.methods"
    folder = tmp_path / "runs/prism/evaluate/alfworld-random-0"
    folder.mkdir()
    (folder / "metrics.json").write_text('{"not_run": "cannot run on alfworld: why"}', encoding="utf-8")
    played = collect.played("alfworld", ["base", "random"], [0])
    assert played.skipped == {"random": "cannot run on alfworld: why"}
    assert {r.environment for r in found.rows} == {"alfworld"} == {claim.environment for claim in found.claims}
    page = html.render(found, compare.layout(found, numbers))
    assert "85.16" in page and 'id="table2"' not in page  # HPT's value is shown although it was not run
    assert any("one model probed" in note for note in found.meta.notes)


def test_an_environment_that_has_not_run_is_all_not_run(
    tmp_path: Path, numbers: ReportedNumbers, monkeypatch: Any
) -> None:
    Tree(tmp_path, ("alfworld",), ("base", "sft"), (0,)).write()
    found = compared(tmp_path, numbers, monkeypatch, ("alfworld", "webshop"), ("base", "sft"), (0,))
    webshop = [claim for claim in found.claims if claim.environment == "webshop"]
    assert webshop and {claim.verdict for claim in webshop} == {NOT_RUN}
    assert any("WebShop: not probed" in note for note in found.meta.notes)
    html.render(found, compare.layout(found, numbers))


def refused(root: Path, numbers: ReportedNumbers, monkeypatch: Any, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        compared(root, numbers, monkeypatch, ("alfworld",), ("base", "sft"), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return Tree(tmp_path, ("alfworld",), ("base", "sft")).write().root


def test_unequal_seeds_are_refused(small: Path, numbers: ReportedNumbers, monkeypatch: Any) -> None:
    shutil.rmtree(small / "runs/prism/evaluate/alfworld-sft-1")
    message = refused(small, numbers, monkeypatch)
    assert "alfworld sft: seed 1 has no" in message and "dvc repro" in message


@pytest.mark.parametrize(("seeds", "text"), [((1,), "seed 1 played other games"), ((0, 1), "not play the same games")])
def test_other_games_are_refused(
    small: Path, numbers: ReportedNumbers, monkeypatch: Any, seeds: Any, text: str
) -> None:
    for seed in seeds:
        path = small / f"runs/prism/evaluate/alfworld-sft-{seed}/tables/episodes.jsonl"
        path.write_text(path.read_text().replace('"seen/3"', '"seen/33"'))
    assert text in refused(small, numbers, monkeypatch)


def test_nothing_to_compare_is_said(tmp_path: Path, numbers: ReportedNumbers, monkeypatch: Any) -> None:
    assert "nothing to compare" in refused(tmp_path, numbers, monkeypatch)


def test_values_are_judged_at_the_papers_scale(small: Path, numbers: ReportedNumbers, monkeypatch: Any) -> None:
    found = compared(small, numbers, monkeypatch, ("alfworld",), ("base", "sft"), same_scale=True)
    assert row(found, "alfworld", "base", "seen").verdict in ("reproduced", "not reproduced")
    types = tables.table_1_types(found)
    assert any(cells[0].text == "verdict" for group in types.groups for cells in group.rows)


def test_diagnosis_finds_the_length_that_is_in_the_norms(full: Comparison) -> None:
    """The invented norms are more unequal the longer the example."""
    found = {(c.score, c.against): c for c in full.correlations if c.environment == "alfworld"}
    assert {score for score, _ in found} == {"Gini", "Kurtosis", "CV", "L2"}
    assert found["Gini", "length in tokens"].rho > 0.8  # type: ignore[operator]
    assert abs(found["Gini", "loss of the base"].rho) < 0.4  # type: ignore[arg-type]
    kind = found["Gini", "task type"]
    assert kind.measure.startswith("η²") and kind.rho is not None and 0 <= kind.rho <= 1
    metrics = [a for a in full.agreements if (a.environment, a.kind) == ("alfworld", "metrics")]
    assert len(metrics) == 6 and not [a for a in full.agreements if a.kind == "probes"]
    for profile in full.profiles:
        assert sum(profile.low) == pytest.approx(1) == sum(profile.high)
    gini = next(p for p in full.profiles if (p.environment, p.score) == ("alfworld", "Gini"))
    assert max(gini.high) > max(gini.low)


def test_shares_are_of_arms_that_divide_the_data(full: Comparison, written: Path) -> None:
    methods = {share.method for share in full.shares}
    assert methods == set(LAPTOP) - {"base", "sft", "grpo", "gigpo", "hpt_online", "sft_then_rl"}
    for method in ("random", "prism_gini"):
        split = json.loads((written / f"runs/prism/split/webshop/{method}-0.json").read_text())
        of_method = [s for s in full.shares if (s.environment, s.method) == ("webshop", method)]
        assert sum(s.to_rl for s in of_method) == len(split["rl"]) and sum(s.total for s in of_method) == 40


def test_several_probes_are_compared_by_id(tmp_path: Path, monkeypatch: Any) -> None:
    tree = Tree(tmp_path, ("alfworld",), ())
    tree.probe("alfworld", "alfworld")
    tree.probe("alfworld", "alfworld-again")
    tree.probe("alfworld", "alfworld-other", noise=3.0)
    monkeypatch.chdir(tmp_path)
    files = diagnosis.probes("alfworld")
    assert list(files) == ["alfworld", "alfworld-again", "alfworld-other"]
    found = {(pair.a, pair.b): pair for pair in diagnosis.between_probes("alfworld", files)}
    assert len(found) == 3 * 4
    assert found["Gini: alfworld", "Gini: alfworld-again"].rho == pytest.approx(1)
    assert found["Gini: alfworld", "Gini: alfworld-other"].rho < 0.9  # type: ignore[operator]
    path = files["alfworld-other"]
    with np.load(path) as probe:
        np.savez(path, **{**probe, "ids": np.array([f"x{i}" for i in range(40)])})
    with pytest.raises(UserError, match="share 0 examples"):
        diagnosis.between_probes("alfworld", files)


def test_the_stage_writes_everything(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """From params.yaml to the files, at the smoke profile with two arms."""
    methods = "[base,sft,random,prism_gini]"
    profiles.compose("smoke", [f"prism.methods={methods}"], tmp_path / "params.yaml", ROOT / "conf")
    Tree(tmp_path, methods=("base", "sft", "random", "prism_gini"), seeds=(0,)).write()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCORE_TRACK", "off")
    compare.main()
    out = tmp_path / "runs/prism/compare"
    loaded = Comparison.load(out / "comparison.json")
    assert loaded.meta.same_scale is False and loaded.meta.rule
    assert {cost.method for cost in loaded.costs} == {"base", "sft", "random", "prism_gini"}
    text = (out / "comparison.md").read_text(encoding="utf-8")
    assert "## Table 3: time" in text and "## How verdicts are reached" in text
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "report/index.html").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "Table 1: ALFWorld" in printed
    assert max(map(len, (out / "table.txt").read_text(encoding="utf-8").splitlines())) <= 120
    record = collect.record(out)
    assert {parent["group"]["method"] for parent in record["parents"]} == {"base", "sft", "random", "prism_gini"}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["claims"]["alf-sft-base/seen"] in VERDICTS
