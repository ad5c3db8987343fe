"""A stage that runs in a fork of the warm process cannot be told from one that runs alone, but by its start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

STAGE = """
import os, signal, sys, time
from encore import tracking
from experiments import warm

@tracking.stage_main
def main():
    print("stage", os.environ.get("OWN"), os.environ.get("ENCORE_WARM"), sys.argv[1:], os.path.basename(os.getcwd()))
    print("to stderr", file=sys.stderr)
    if "fail" in sys.argv:
        from encore.errors import UserError
        raise UserError("what is wrong, where")
    if "break" in sys.argv:
        raise RuntimeError("a defect")
    if "wait" in sys.argv:
        open("pid.part", "w").write(str(os.getpid()))
        os.rename("pid.part", "pid")
        time.sleep(60)

if __name__ == "__main__":
    warm.delegate("own_stage")
    main()
"""


@pytest.fixture
def stage(tmp_path):
    """Runs the stage with the given arguments; `stage.warm` says whether in a fork."""
    (tmp_path / "own_stage.py").write_text(STAGE)
    (tmp_path / "folder").mkdir()
    path = tmp_path / "socket"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    serve = f"from experiments import warm; warm.IMPORTS = {{'own': ()}}; warm.serve({str(path)!r}, 'own')"
    server = subprocess.Popen(
        [sys.executable, "-c", serve],
        env=environment,
    )
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline and server.poll() is None
        time.sleep(0.01)

    def start(*arguments, warm=True):
        own = {**environment, "OWN": "value", **({"ENCORE_WARM": str(path)} if warm else {})}
        return subprocess.Popen(
            [sys.executable, "-m", "own_stage", *arguments],
            cwd=tmp_path / "folder",
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    yield start
    server.kill()
    server.wait()


@pytest.mark.parametrize("arguments", [[], ["--seed", "0"], ["fail"], ["break"]])
def test_outputs_status_folder_and_environment_are_those_of_the_stage_alone(stage, arguments):
    alone, forked = stage(*arguments, warm=False), stage(*arguments)
    expected, found = alone.communicate(timeout=60), forked.communicate(timeout=60)
    assert found[0] == expected[0]
    assert found[1].splitlines()[:1] == expected[1].splitlines()[:1] == ["to stderr"]
    assert found[1].splitlines()[-1] == expected[1].splitlines()[-1]
    assert forked.returncode == alone.returncode == (1 if {"fail", "break"} & set(arguments) else 0)


def test_one_stage_leaves_nothing_to_the_next(stage):
    for arguments in (["fail"], ["--seed", "1"], ["--seed", "1"]):
        shown = stage(*arguments).communicate(timeout=60)[0]
        assert shown == f"stage value None {arguments} folder\n"


def started(stage, folder):
    running = stage("wait")
    deadline = time.monotonic() + 60
    while not (folder / "pid").exists():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.01)
    return running, int((folder / "pid").read_text())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_fork(stage, tmp_path, number, status):
    running, _ = started(stage, tmp_path / "folder")
    running.send_signal(number)
    running.communicate(timeout=30)
    assert running.returncode == status


def test_a_killed_stage_takes_its_fork_along(stage, tmp_path):
    running, pid = started(stage, tmp_path / "folder")
    running.kill()
    running.communicate(timeout=30)
    deadline = time.monotonic() + 30
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.01)
    assert stage().wait(timeout=60) == 0, "the warm process answers on"
