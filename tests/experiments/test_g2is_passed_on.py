"""What a comparison says of itself to others: its command, the arms that did not run, and no words of the data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from encore import profiles
from encore.tracking.files import read_yaml
from experiments.g2is import claims, data_tables, made_by, plots, quotes, reported, tables
from experiments.g2is.collect import Arm, Collected
from experiments.g2is.settings import EvaluateSettings, G2isSettings
from experiments.g2is.walks import walk_table

OVERRIDES = [
    "g2is.data.source=local",
    "g2is.data.pools=[cot,flan]",
    "g2is.data.evaluation=null",
    "+g2is.parameters.less.adam=paper",
    "policy.max_length=384",
]
PICK = {
    "index": 0,
    "id": "cot-pool-7",
    "component": 0,
    "via": "anchor",
    "reached_from": None,
    "affinity": 0.5,
    "similarity": None,
    "smallest_similarity": None,
    "old_consistency": None,
    "new_consistency": 0.5,
}


def test_the_command_makes_the_parameters_again(tmp_path):
    made = read_yaml(profiles.compose("laptop", OVERRIDES, tmp_path / "params.yaml"))
    found = made_by.overrides(made)
    assert {one.partition("=")[0] for one in found} == {one.partition("=")[0] for one in OVERRIDES}
    assert read_yaml(profiles.compose("laptop", found, tmp_path / "again.yaml")) == made
    command = made_by.command(made)
    assert command.startswith("encore profile use laptop ")
    assert command.endswith(" && ENCORE_INSTRUCT=/path/to/data dvc repro g2is.compare")


@pytest.mark.parametrize(
    ("profile", "command"),
    [("laptop", "dvc repro g2is.compare"), ("paper", "encore profile use paper && dvc repro g2is.compare")],
)
def test_a_profile_as_it_is_needs_no_more_than_its_name(profile, command, tmp_path):
    assert made_by.command(read_yaml(profiles.compose(profile, output=tmp_path / "params.yaml"))) == command


def test_what_is_passed_on_quotes_nothing_of_the_data():
    overlaps = [{"target": "bbh", "evaluated": 2, "compared": 2, "hits": 1, "template_hits": 0}]
    overlaps[0]["examples"] = [(0, 5, "words that both share")]
    quoting = [walk_table("bbh", 0.05, [PICK], ["A question of a data set"]), *data_tables.overlap(overlaps, [])]
    bare = quotes.without_quotes(quoting)
    said = [cell.text + cell.detail for table in bare for group in table.groups for row in group.rows for cell in row]
    assert "cot-pool-7" in said
    assert not [text for text in said if "question of" in text or "words that" in text]
    assert quotes.without_words(overlaps)[0]["examples"] == [[0, 5]]
    for table, other in zip(quoting, bare, strict=True):
        assert [len(row) for group in other.groups for row in group.rows] == [
            len(row) for group in table.groups for row in group.rows
        ]


def arm(method, target, skipped=""):
    scores = {"exact": np.zeros((2, 3)), "loss": np.full((2, 3), -1.5)}
    return Arm(target, target, method, 0.05, [0, 1], {} if skipped else scores, [], {}, skipped)


@pytest.fixture
def found():
    settings = G2isSettings(targets=["gsm8k", "bbh"], methods=["random", "less"], fractions=[0.05])
    found = Collected(settings, [arm("random", "gsm8k"), arm("random", "bbh", "needs a family"), arm("less", "gsm8k")])
    found.domains = {"gsm8k": "maths", "bbh": "reasoning"}
    return found


def test_a_note_names_the_targets_for_which_an_arm_did_not_run(found):
    assert tables.not_run(found) == ["Random was not run for bbh: it needs a family."]
    found.arms = [arm("random", name, "needs a family") for name in ("gsm8k", "bbh")]
    assert tables.not_run(found) == ["Random was not run: it needs a family."]


def test_a_mean_over_some_targets_says_so(found):
    facts = {"examples": 1.0, "steps": 1.0, "tokens": 1.0, "train_wall_s": 1.0, "energy_kwh": 0.0}
    found.arms = [dataclasses.replace(one, facts=facts) for one in (*found.arms, arm("less", "bbh"))]
    from experiments.g2is.collect import Preparation

    table = tables.costs(found, Preparation(1.0, 1.0, 1.0, 1.0, 1, 1), [])
    details = [row[0].detail for row in table.groups[0].rows]
    assert details == ["random, of gsm8k alone", "less"]


def test_where_no_answer_is_right_the_scale_of_exact_match_is_no_artefact(found):
    axis = plots.data_efficiency(found, "gsm8k").axes[0]
    assert axis.get_ylim() == (0, 1)


@pytest.mark.parametrize(("by", "words"), [("own", "token for token"), ("lm_eval", "the likeliest choice")])
def test_the_note_says_who_tests_for_exact_match(found, by, words):
    found.g2is = G2isSettings(targets=["gsm8k"], methods=["base"], evaluate=EvaluateSettings(by=by))
    assert words in tables.results(found).notes[0]


def test_a_claim_by_exact_match_says_where_no_answer_is_right(found):
    numbers = reported.load()
    found.g2is = G2isSettings(targets=["gsm8k"], methods=["g2is", "less"], fractions=[0.05])
    found.arms = [arm("g2is", "gsm8k"), arm("less", "gsm8k")]
    table = tables.claims_table(claims.judge(found, numbers), found, numbers)
    first, *others = table.groups
    assert [row[3].detail == tables.NONE_RIGHT for row in first.rows] == [True, False]
    assert [row[0].text for group in others for row in group.rows] == ["every target and share"] * len(others)
    found.arms[0].scores["exact"][0, 0] = 1
    table = tables.claims_table(claims.judge(found, numbers), found, numbers)
    assert table.groups[0].rows[0][3].detail != tables.NONE_RIGHT
