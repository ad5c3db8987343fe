"""A run's folder is whole or absent, whatever interrupts it; a resumed run goes on where the last commit left it."""

from __future__ import annotations

import errno
import json
import os
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from encore import tracking
from encore.errors import UserError

from .conftest import process, settings, train


@pytest.fixture
def offline(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose runs are files only."""
    monkeypatch.setenv("ENCORE_TRACK", "off")
    return checkout


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_folder_says_what_was_run_and_what_came_out(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (offline / "demos.jsonl").write_text('{"text": "take"}\n')
    out = train(inputs=["demos.jsonl"])
    record = yaml.safe_load((out / "run.yaml").read_text())
    assert record["params"] == {"model": {"layers": 2}, "learning_rate": 1e-4}
    assert record["seed"] == 0 and record["status"] == "finished" and record["started"] < record["ended"]
    assert len(record["inputs"]["demos.jsonl"]) == 64
    assert {"mlflow", "torch", "python"} <= record["versions"].keys()
    assert record["hardware"]["cores"] >= 1 and record["command"]
    assert record["costs"]["tokens_trained"] == 100 and record["costs"]["peak_memory_mb"] > 1
    assert json.loads((out / "metrics.json").read_text()) == {"success": 0.5, "by_type": {"pick": 0.25}}
    assert [line["step"] for line in lines(out / "metrics.jsonl")] == [0, 1, 2]
    assert (out / "tables/episodes.csv").read_text() == "game,won\na,True\nb,False\n"
    assert not list((offline / ".encore/work").iterdir()), "a finished run leaves no working folder"
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and "success 0.5" in printed and "100 tokens trained" in printed


def test_hash_depends_on_what_decides_the_result_and_on_nothing_else(offline: Path) -> None:
    def hash_of(**changes: Any) -> str:
        return tracking.start(**settings(inputs=["a.txt"], **changes)).inputs_hash

    (offline / "a.txt").write_text("1")
    first = hash_of()
    assert hash_of() == first
    assert hash_of(out="elsewhere") == first
    assert hash_of(params={"learning_rate": 1e-4, "model": {"layers": 2}}) == first, "the order of keys is no input"
    with_price = {**settings()["params"], "tracking": {"price_per_device_hour": 2.0}}
    assert hash_of(params=with_price) == first, "a price does not change a result"
    different = [hash_of(seed=1), hash_of(stage="paper.other"), hash_of(group={}), hash_of(params={})]
    (offline / "a.txt").write_text("2")
    assert len({first, *different, hash_of()}) == 6


def test_a_run_folder_as_input_counts_by_its_results_and_not_by_its_clock(offline: Path) -> None:
    train()
    first = tracking.start(**settings(stage="paper.next", inputs=["runs/train/room-sft-0"])).inputs_hash
    train()
    assert tracking.start(**settings(stage="paper.next", inputs=["runs/train/room-sft-0"])).inputs_hash == first
    (offline / "runs/train/room-sft-0/metrics.json").write_text("{}")
    assert tracking.start(**settings(stage="paper.next", inputs=["runs/train/room-sft-0"])).inputs_hash != first


def test_missing_input_is_one_line_for_the_user(offline: Path) -> None:
    with pytest.raises(UserError, match=r"demos\.jsonl does not exist") as caught:
        tracking.start(**settings(inputs=["demos.jsonl"]))
    assert "\n" not in str(caught.value)


def test_exception_leaves_the_old_output_and_the_checkpoints(offline: Path) -> None:
    out = train()
    before = (out / "run.yaml").read_bytes()
    with pytest.raises(RuntimeError, match="diverged"), tracking.start(**settings()) as run:
        (run.checkpoints / "1.pt").write_text("weights")
        (run.out / "model").mkdir()
        run.commit()
        raise RuntimeError("diverged")
    assert (out / "run.yaml").read_bytes() == before
    with tracking.start(**settings()) as run:
        assert run.resumed and (run.checkpoints / "1.pt").read_text() == "weights"
    assert not (out / "tables").exists(), "the new folder replaces the old one, nothing of it is left"
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_what_was_staged_after_the_last_commit_is_dropped(offline: Path) -> None:
    with pytest.raises(KeyboardInterrupt), tracking.start(**settings()) as run:
        run.table("early", [{"a": 1}])
        run.result({"early": 1})
        run.commit()
        run.result({"late": 1})
        run.table("late", [{"a": 1}])
        raise KeyboardInterrupt
    with tracking.start(**settings()) as run:
        pass
    assert sorted(path.name for path in (run.final / "tables").iterdir()) == ["early.csv", "early.jsonl"]
    assert json.loads((run.final / "metrics.json").read_text()) == {"early": 1}


KILLED = textwrap.dedent("""
    import json, os, signal
    from pathlib import Path
    from encore import tracking
    from tests_settings import settings
    kill_at = int(os.environ["KILL_AT"])
    with tracking.start(**settings()) as run:
        state = run.checkpoints / "step.json"
        begin = json.loads(state.read_text()) if run.resumed else 0
        for step in range(begin, 12):
            with run.phase("sft"):
                run.curve({"loss": 1.0 / (step + 1)}, step=step)
                run.count(tokens_trained=10)
            if step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if step % 4 == 3:
                state.write_text(str(step + 1))
                run.commit()
        run.result({"success": 1.0})
""")


def test_killed_run_resumes_with_the_same_curves_and_totals(
    checkout: Path, runs: Callable[..., list[MlflowRun]], client: MlflowClient
) -> None:
    """SIGKILL two steps after a commit: those two steps are done again, and appear once, in the file and in MLflow."""
    (checkout / "tests_settings.py").write_text(f"def settings():\n    return {settings()!r}\n")
    killed = process(KILLED, checkout, KILL_AT="9")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (checkout / "runs").exists(), "a killed run leaves nothing where the output belongs"
    (live,) = runs()
    assert live.info.status == "RUNNING"
    assert len(client.get_metric_history(live.info.run_id, "loss")) == 4, "committed curves are in MLflow while it runs"

    resumed = process(KILLED, checkout, KILL_AT="-1")
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    out = checkout / "runs/train/room-sft-0"
    assert [line["step"] for line in lines(out / "metrics.jsonl")] == list(range(12))
    record = yaml.safe_load((out / "run.yaml").read_text())
    assert record["costs"]["tokens_trained"] == 120 and record["sessions"] == 2
    assert record["costs"]["wall_s"] == pytest.approx(
        sum(p["wall_s"] for p in record["costs"]["phases"].values()), abs=1e-2
    )
    (finished,) = runs()
    assert finished.info.run_id == live.info.run_id and finished.info.status == "FINISHED"
    history = client.get_metric_history(finished.info.run_id, "loss")
    assert sorted(point.step for point in history) == list(range(12))


def test_failed_run_is_marked_once_it_has_begun_in_mlflow(
    checkout: Path, runs: Callable[..., list[MlflowRun]], client: MlflowClient
) -> None:
    with pytest.raises(RuntimeError), tracking.start(**settings()) as run:
        run.curve({"loss": 1.0}, step=0)
        run.commit()
        raise RuntimeError("diverged")
    assert [found.info.status for found in runs()] == ["FAILED"]
    with tracking.start(**settings()) as run:
        run.curve({"loss": 0.5}, step=1)
    assert [found.info.status for found in runs()] == ["FINISHED"]
    assert [point.step for point in client.get_metric_history(runs()[0].info.run_id, "loss")] == [0, 1]


def test_the_same_run_in_two_processes_is_refused(offline: Path) -> None:
    with tracking.start(**settings()):
        other = process(f"from encore import tracking\nwith tracking.start(**{settings()!r}): pass", offline)
        _, errors = other.communicate()
    assert other.returncode == 1 and "already running in another process" in errors


@pytest.mark.parametrize("where", ["table", "record"])
def test_full_disk_is_one_line_and_nothing_half_written(
    offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    out = train()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @tracking.stage_main
    def stage() -> None:
        with monkeypatch.context() as patch, tracking.start(**settings()) as run:
            if where == "table":
                patch.setattr(os, "fsync", full)
                run.table("episodes", [{"a": 1}])
            run.result({"success": 0.9})
            patch.setattr(os, "fsync", full)

    with pytest.raises(SystemExit) as ended:
        stage()
    assert ended.value.code == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "disk is full" in errors
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_publishing_that_fails_puts_the_old_folder_back(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = train()
    before = (out / "run.yaml").read_bytes()

    def refuse(staged: Path, target: Path) -> Path:
        if staged.is_dir():
            raise OSError(errno.EIO, "input/output error")
        return rename(staged, target)

    rename = Path.replace
    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match="input/output"),
        tracking.start(**settings()),
    ):
        patch.setattr(Path, "replace", refuse)
    assert (out / "run.yaml").read_bytes() == before


def test_figures_and_datasets_of_equal_runs_are_equal_bytes(offline: Path) -> None:
    from matplotlib.figure import Figure

    drawn = []
    for _ in range(2):
        with tracking.start(**settings()) as run:
            figure = Figure()
            figure.subplots().plot([1, 2, 3])
            run.figure("learning curve", figure)
        drawn.append((run.final / "plots/learning-curve.svg").read_bytes())
    assert drawn[0] == drawn[1]


def test_not_a_number_survives_the_files(offline: Path) -> None:
    from encore.tracking.curves import read_curves

    with tracking.start(**settings()) as run:
        run.curve({"loss": float("nan"), "reward": float("-inf")}, step=0)
        run.result({"perplexity": float("inf")})
    (line,) = read_curves(run.final / "metrics.jsonl")
    assert line["loss"] != line["loss"] and line["reward"] == float("-inf")
    json.loads((run.final / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_wrong_use_says_what_is_right(offline: Path) -> None:
    with tracking.start(**settings()) as run:
        with pytest.raises(ValueError, match="another name"):
            run.curve({"step": 1.0}, step=0)
        with pytest.raises(RuntimeError, match="do not nest"), run.phase("sft"), run.phase("rollout"):
            pass
        with pytest.raises(RuntimeError, match="already open"), tracking.start(**settings(seed=1)):
            pass
        with pytest.raises(TypeError):
            run.count(token_trained=1)  # type: ignore[call-arg]
    with pytest.raises(RuntimeError, match="belongs inside"):
        tracking.log_parent("paper", {"method": "sft"}, {})
