"""`make repro` beside a stand-in for DVC: order, collisions of locks, failures and interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from encore.errors import UserError
from experiments import repro
from experiments.prism.settings import PrismSettings
from experiments.repro import Repro, chain, side_by_side


@pytest.fixture
def dvc(tmp_path, monkeypatch):
    """Puts a shell script in the place of `dvc`; its arguments are those of `dvc --wait-for-lock repro`."""

    def write(script):
        path = tmp_path / "dvc"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\nshift 2\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(repro, "WAIT_S", 0.01)
        monkeypatch.setattr(repro, "DVC", ("dvc",))
        return tmp_path

    return write


def test_a_chain_has_every_stage_after_what_it_needs():
    prism = PrismSettings(
        environments=["alfworld"],
        methods=["base", "random"],
        seeds=[0, 1],
        panels={"alfworld": {}},
        rl={"alfworld": None},
    )
    stages = chain(prism, "alfworld")
    assert stages[:4] == [f"prism.{stage}@alfworld" for stage in ("demos", "probe", "pass_rates", "split")]
    assert len(stages) == len(set(stages)) == 4 + 2 * 2 * 2
    for method in ("base", "random"):
        for seed in (0, 1):
            places = [stages.index(f"prism.{stage}@alfworld-{method}-{seed}") for stage in ("train", "evaluate")]
            assert places == sorted(places)


def test_both_run_at_once_and_each_line_says_whose_it_is(dvc, capfd):
    """Each waits for the other's file: one after another they would never end."""
    dvc('touch $1; while [ ! -e $2 ]; do sleep 0.01; done; echo "Stage x didn\'t change, skipping"; echo made $1')
    pair = [Repro("one", ["a", "b"], 1), Repro("two", ["b", "a"], 1)]
    side_by_side(pair)
    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == ["one      | made a", "two      | made b"]
    assert [each.skipped for each in pair] == [1, 1]


@pytest.mark.parametrize("collision", repro.COLLISIONS)
def test_a_process_in_the_way_is_waited_for(dvc, capfd, collision):
    folder = dvc(f'if [ -e free ]; then echo done; else touch free; echo "ERROR: {collision}" >&2; exit 255; fi')
    side_by_side([Repro("one", ["x"], 1)])
    assert (folder / "free").exists()
    out = capfd.readouterr().out
    assert "another process is in the way" in out and out.rstrip().endswith("done")


def test_a_failure_is_told_and_ends_the_other(dvc, capfd):
    folder = dvc(
        'if [ $1 = bad ]; then while [ ! -e pid ]; do sleep 0.01; done; echo "encore: no such arm" >&2; exit 1; fi\n'
        "echo $$ > pid.part; mv pid.part pid; exec sleep 60"
    )
    began = time.monotonic()
    with pytest.raises(UserError, match="failed for webshop"):
        side_by_side([Repro("alfworld", ["good"], 1), Repro("webshop", ["bad"], 1)])
    assert time.monotonic() - began < 20
    assert "webshop  | encore: no such arm" in capfd.readouterr().out
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_both(dvc, number, tmp_path):
    dvc("echo $$ > $1.part; mv $1.part $1; exec sleep 60")
    script = (
        "import signal; from experiments import repro\n"
        "repro.DVC = ('dvc',)\n"
        "signal.signal(signal.SIGTERM, repro._terminated)\n"
        "repro.side_by_side([repro.Repro('a', ['a'], 1), repro.Repro('b', ['b'], 1)])"
    )
    running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() for name in "ab"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(number)
    assert running.wait(timeout=30) != 0
    for name in "ab":
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
def test_a_kill_leaves_no_pipeline_behind(dvc, tmp_path):
    dvc("echo $$ > $1.part; mv $1.part $1; exec sleep 60")
    script = "from experiments import repro; repro.DVC = ('dvc',); repro.side_by_side([repro.Repro('a', ['a'], 1)])"
    running = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (tmp_path / "a").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.kill()
    running.wait()
    pid = int((tmp_path / "a").read_text())
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("the child outlived its parent")
