"""What the quick reader and writer of dvc.lock writes, DVC reads as its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from dvc.utils.serialize import _yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.cyaml import CParser

from experiments.quick_dvc import once, quick

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    st.sampled_from(
        ["yes", "no", "on", "null", "~", "1e-4", "1_000", "0o17", "2026-01-01", "- x", "a: b", "#", "5:30"]
    ),
)
contents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=3)
)


@given(content=contents)
def test_dvc_reads_what_is_written(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("lock") / "dvc.lock"
    for _ in range(2):  # a new file, then one that is there
        with quick(_yaml.modify_yaml)(str(path)) as data:
            data.update({"schema": "2.0"})
            data.setdefault("stages", {})["own"] = content
    assert _yaml.parse_yaml(path.read_text(), "") == {"schema": "2.0", "stages": {"own": content}}
    with _yaml.modify_yaml(str(path)) as data:
        assert data == {"schema": "2.0", "stages": {"own": content}}


def test_other_files_keep_their_comments(tmp_path):
    path = tmp_path / "dvc.yaml"
    path.write_text("# why\nstages: {}\n")
    with quick(_yaml.modify_yaml)(str(path)) as data:
        data["stages"]["own"] = {"cmd": "true"}
    assert path.read_text().startswith("# why\n")


def test_a_caller_that_changes_what_was_parsed_changes_nothing_for_others():
    calls = []
    parse = once(lambda text, path, typ: calls.append(text) or {"a": [text]})
    parse("x", "")["a"].append("changed")
    assert parse("x", "") == {"a": ["x"]} and parse("y", "") == {"a": ["y"]}
    assert calls == ["x", "y"]


def test_the_parser_in_c_is_there():
    assert YAML(typ="safe").Parser is CParser


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "params.yaml").write_text("rate: 1e-4\nname: yes\n")
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        + "".join(
            f"  s{number}:\n    cmd: echo {number} > o{number}\n    params: [rate, name]\n    outs: [o{number}]\n"
            for number in range(3)
        )
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DVC_NO_ANALYTICS": "1"}

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("dvc", "init", "--no-scm", "--quiet")
    return run


def test_a_run_by_either_is_up_to_date_for_the_other(pipeline):
    made = ["dvc", "repro"], [sys.executable, "-m", "experiments.quick_dvc", "repro"]
    assert pipeline(*made[1]).count("Running stage") == 3
    assert pipeline(*made[0]).count("didn't change, skipping") == 3
    assert pipeline(*made[0], "--force").count("Running stage") == 3
    assert pipeline(*made[1]).count("didn't change, skipping") == 3
