"""MLflow is a view of the run folders: sent once, sent twice or sent late, it shows the same."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from encore import cli, tracking
from encore.tracking import store

from .conftest import process, settings, train

Runs = Callable[..., list[MlflowRun]]


def picture(client: MlflowClient, experiment: str = "paper") -> dict[str, tuple[Any, ...]]:
    """All that MLflow holds of an experiment: names, parameters, tags, every metric point, artifacts, inputs."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    seen: dict[str, tuple[Any, ...]] = {}
    for run in client.search_runs([found.experiment_id]):
        run_id = run.info.run_id
        artifacts: list[str] = []
        folders = [""]
        while folders:
            for file in client.list_artifacts(run_id, folders.pop()):
                (folders if file.is_dir else artifacts).append(file.path)
        points = {key: [(p.step, p.value) for p in client.get_metric_history(run_id, key)] for key in run.data.metrics}
        datasets = [
            (item.dataset.name, item.dataset.digest) for item in (run.inputs.dataset_inputs if run.inputs else [])
        ]
        seen[run_id] = (run.info.run_name, run.data.params, run.data.tags, points, sorted(artifacts), datasets)
    return seen


def evaluate(**changes: object) -> Path:
    with tracking.start(
        **settings(
            **{
                "stage": "paper.evaluate",
                "out": "runs/evaluate/room-sft-0",
                "continues": "runs/train/room-sft-0",
                "params": {"model": {"layers": 3}, "episodes": 10},
                **changes,
            }
        )
    ) as run:
        with run.phase("evaluate"):
            run.count(environment_steps=40)
        run.result({"success_unseen": 0.3})
    return run.final


def test_run_arrives_with_everything(checkout: Path, runs: Runs, client: MlflowClient) -> None:
    train(steps=3)
    (run,) = runs()
    assert run.info.run_name == "sft · seed 0" and run.info.status == "FINISHED"
    assert run.data.params == {"seed": "0", "model.layers": "2", "learning_rate": "0.0001"}
    assert run.data.metrics["success"] == 0.5 and run.data.metrics["by_type.pick"] == 0.25
    assert run.data.metrics["cost/tokens_trained"] == 100 and "cost/wall_s/sft" in run.data.metrics
    tags = run.data.tags
    assert (tags["encore.environment"], tags["encore.method"], tags["encore.paper"]) == ("room", "sft", "paper")
    assert tags["encore.stage"] == "paper.train" and tags["encore.curve_lines"] == "3"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2]
    assert [item.dataset.name for item in (run.inputs.dataset_inputs if run.inputs else [])] == ["demos"]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"run.yaml", "metrics.json", "tables"}
    table = client.load_table(run.info.experiment_id, "tables/episodes.json", [run.info.run_id])
    assert list(table["game"]) == ["a", "b"]


def test_syncing_again_changes_nothing(checkout: Path, client: MlflowClient) -> None:
    """Not only the quick way by `encore.synced`: without that tag every point is offered again, and none doubles."""
    out = train(steps=30)
    evaluate()
    before = picture(client)
    assert tracking.sync(out) == "unchanged"
    for run_id in before:
        for tag in ("encore.synced", "encore.synced.paper.evaluate"):
            if tag in client.get_run(run_id).data.tags:
                client.delete_tag(run_id, tag)
    assert cli.main(["track", "sync"]) == 0
    assert picture(client) == before


def test_files_alone_make_the_same_mlflow_runs(checkout: Path, client: MlflowClient, empty_store: Path) -> None:
    """As after `dvc pull` on a new machine: the runs come from their folders."""
    train(steps=5)
    evaluate()
    before = list(picture(client).values())
    shutil.copy(empty_store, checkout / "mlflow.db")
    shutil.rmtree(checkout / "mlartifacts")
    shutil.rmtree(checkout / ".encore")
    assert cli.main(["track", "sync", "runs"]) == 0

    def without_ids(shown: tuple[Any, ...]) -> tuple[Any, ...]:
        name, params, tags, *rest = shown
        return name, params, {key: value for key, value in tags.items() if key != "mlflow.parentRunId"}, *rest

    after = [without_ids(shown) for shown in picture(client).values()]
    assert all(without_ids(shown) in after for shown in before)
    assert len(after) == len(before) == 2


def test_children_hang_on_one_parent_per_group(checkout: Path, runs: Runs) -> None:
    for seed in (0, 1):
        train(seed=seed, out=f"runs/train/room-sft-{seed}")
    train(group={"environment": "room", "method": "rl"}, out="runs/train/room-rl-0")
    train(group={}, stage="paper.demos", seed=None, out="runs/demos")
    parents = {run.info.run_id: run.info.run_name for run in runs("encore.parent_key")}
    assert sorted(parents.values()) == ["room · rl", "room · sft"]
    named = [(run.info.run_name, parents.get(run.data.tags.get("mlflow.parentRunId", ""))) for run in runs()]
    assert sorted(named, key=str) == [
        ("demos", None),
        ("rl · seed 0", "room · rl"),
        ("sft · seed 0", "room · sft"),
        ("sft · seed 1", "room · sft"),
    ]


def test_evaluation_continues_the_training_run(checkout: Path, runs: Runs) -> None:
    train()
    evaluate()
    (run,) = runs()
    assert run.data.metrics["success"] == 0.5 and run.data.metrics["success_unseen"] == 0.3
    assert run.data.metrics["cost/evaluate/environment_steps"] == 40
    assert run.data.metrics["cost/environment_steps"] == 0, "the training's own costs stay"
    assert run.data.params["model.layers"] == "2", "MLflow refuses a second value under one name"
    assert run.data.params["paper.evaluate.model.layers"] == "3" and run.data.params["episodes"] == "10"


def test_second_execution_replaces_the_first(checkout: Path, runs: Runs, client: MlflowClient) -> None:
    """`dvc repro --force`: one MLflow run for one set of inputs, with the points of the last execution only."""
    shutil.copytree(train(steps=5), checkout / "runs/copy-of-the-first")
    evaluate()
    train(steps=2)
    evaluate()
    (run,) = runs()
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [0, 1]
    assert len(client.get_metric_history(run.info.run_id, "success_unseen")) == 1
    before = picture(client)
    assert tracking.sync("runs/copy-of-the-first") == "superseded"
    assert picture(client) == before


def test_summary_stands_on_the_parent(checkout: Path, runs: Runs, client: MlflowClient) -> None:
    train()
    group = settings()["group"]
    with tracking.start("runs/compare", "paper.compare", "paper", inputs=["runs/train/room-sft-0"]) as run:
        (run.out / "notes.txt").write_text("one seed")
        tracking.log_parent(
            "paper",
            group,
            {"success": {"mean": 0.5, "low": 0.4, "high": 0.6}},
            tables={"seeds": [{"seed": 0, "success": 0.5}]},
            artifacts=[run.out / "notes.txt"],
        )
    for _ in range(2):
        (parent,) = runs("encore.parent_key")
        assert parent.data.metrics == {"success.mean": 0.5, "success.low": 0.4, "success.high": 0.6}
        assert len(client.get_metric_history(parent.info.run_id, "success.mean")) == 1
        assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"notes.txt", "tables"}
        compare = next(found for found in runs() if found.info.run_name == "compare")
        client.delete_tag(compare.info.run_id, "encore.synced")
        assert tracking.sync("runs/compare") == "sent"


def assert_finishes_and_warns_once(capsys: pytest.CaptureFixture[str], steps: int = 3) -> Path:
    capsys.readouterr()
    with tracking.start(**settings()) as run:
        for step in range(steps):
            run.curve({"loss": 1.0}, step=step)
            run.commit()
        run.result({"success": 0.5})
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and "encore track sync" in shown.err
    assert "queued" in shown.out and (run.final / "run.yaml").is_file()
    return run.final


def assert_arrives_once(client: MlflowClient, runs: Runs, steps: int = 3) -> None:
    for _ in range(2):
        assert cli.main(["track", "sync"]) == 0
        (run,) = runs()
        assert len(client.get_metric_history(run.info.run_id, "loss")) == steps
        assert len(client.get_metric_history(run.info.run_id, "success")) == 1
    assert not list(Path(".encore/pending").iterdir())


def test_unreachable_server(
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runs: Runs,
    client: MlflowClient,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began_s = time.monotonic()
    assert_finishes_and_warns_once(capsys)
    assert time.monotonic() - began_s < 5
    assert cli.main(["track", "sync"]) == 1, "the command that only sends does say that it could not"
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert_arrives_once(client, runs)


def test_locked_database(checkout: Path, capsys: pytest.CaptureFixture[str], runs: Runs, client: MlflowClient) -> None:
    client.get_experiment_by_name("paper")  # the store is open, as in a stage that has sent before
    holder = sqlite3.connect(checkout / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    began_s = time.monotonic()
    assert_finishes_and_warns_once(capsys)
    assert time.monotonic() - began_s < 10
    holder.execute("ROLLBACK")
    holder.close()
    assert_arrives_once(client, runs)


def test_server_that_goes_away_between_commits(
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runs: Runs,
    client: MlflowClient,
) -> None:
    monkeypatch.setattr("encore.tracking.delivery.CURVES_EVERY_S", 0.0)
    with tracking.start(**settings()) as run:
        run.curve({"loss": 1.0}, step=0)
        run.commit()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        for step in (1, 2):
            run.curve({"loss": 1.0}, step=step)
            run.commit()
        run.result({"success": 0.5})
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert_arrives_once(client, runs)


def test_defect_in_the_sending_does_not_fail_the_stage(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC deletes the output of a stage that exits with 1: hours of training, for a view of it."""
    from encore.tracking import entries

    def fail(*_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(entries, "final_metrics", fail)
    out = train()
    assert (out / "run.yaml").is_file()
    assert "KeyError" in capsys.readouterr().err
    with pytest.raises(KeyError):
        tracking.sync(out)


def test_deferred_and_off_send_nothing(checkout: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs) -> None:
    monkeypatch.setenv("ENCORE_TRACK", "off")
    train(seed=1)
    assert not Path(".encore/pending").exists()
    monkeypatch.setenv("ENCORE_TRACK", "deferred")
    train()
    assert runs() == [] and len(list(Path(".encore/pending").iterdir())) == 1


def test_folders_that_are_no_run_are_told_and_left(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    for name, text in {"broken": "a: [", "foreign": "name: someone else's"}.items():
        (checkout / "runs" / name).mkdir()
        (checkout / "runs" / name / "run.yaml").write_text(text)
    capsys.readouterr()
    assert cli.main(["track", "sync"]) == 1
    shown = capsys.readouterr().out
    assert "unreadable runs/broken" in shown and "foreign" not in shown and "1 unchanged" in shown


def test_short_runs_wait_for_the_comparison(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], runs: Runs
) -> None:
    monkeypatch.delenv("ENCORE_TRACK")
    train()
    evaluate()
    assert runs() == [] and "MLflow: queued" in capsys.readouterr().out
    with tracking.start("runs/compare", "paper.compare", "paper"):
        tracking.log_parent("paper", settings()["group"], {"success": 0.5})
    assert [run.info.run_name for run in runs()] == ["sft · seed 0", "compare"]
    assert "sent 3 runs" in capsys.readouterr().out


def test_limits_of_mlflow(checkout: Path, runs: Runs, client: MlflowClient) -> None:
    """Long names and values, more parameters than one request takes, curves that fill several requests."""
    long = "x" * 300
    params = {long: 1, long + "y": 2, "text": "a" * 20_000, "odd (name)": True, "many": {str(i): i for i in range(250)}}
    with tracking.start(**settings(params=params)) as run:
        for step in range(30):
            run.curve({f"layer/{i}": float(i) for i in range(99)}, step=step)
        run.result({"accuracy@8": 0.5, long: 1.0})
        run.tag({"note": "b" * 20_000})
    (found,) = runs()
    assert len(found.data.params) == 255 and max(map(len, found.data.params)) <= 250
    assert len(found.data.params["text"]) <= 6000 and found.data.params["odd _name_"] == "True"
    assert len(client.get_metric_history(found.info.run_id, "layer/98")) == 30
    assert found.data.metrics["accuracy_8"] == 0.5


def test_result_with_the_name_of_a_curve_is_no_point_of_it(checkout: Path, runs: Runs, client: MlflowClient) -> None:
    with tracking.start(**settings()) as run:
        run.curve({"loss": 2.0}, step=5)
        run.result({"loss": 1.0})
    (found,) = runs()
    assert [point.value for point in client.get_metric_history(found.info.run_id, "loss")] == [2.0]
    assert found.data.metrics["result/loss"] == 1.0


@pytest.mark.slow
def test_two_processes_make_the_store_at_once(checkout: Path) -> None:
    """Both find no store, one makes it, both runs and one parent are there."""
    fresh = checkout / "fresh"
    fresh.mkdir()
    code = "from encore import tracking\nwith tracking.start(**{}) as run: run.result({{'a': 1}})"
    both = [process(code.format(settings(seed=seed, out=f"runs/{seed}")), fresh) for seed in (0, 1)]
    for one in both:
        out, errors = one.communicate()
        assert one.returncode == 0 and not errors and "sent" in out, errors
    client = MlflowClient(f"sqlite:///{fresh / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'paper'")
    names = sorted(run.info.run_name for run in client.search_runs([experiment.experiment_id]))
    assert names == ["room · sft", "sft · seed 0", "sft · seed 1"]


def test_an_interrupt_while_the_store_is_made_leaves_none(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file of some tables, as MLflow leaves it when it is cut, would refuse every later run."""
    from encore.tracking import mlflow_client

    path = tmp_path / "cut.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")

    def cut(tracking_uri: str) -> MlflowClient:
        with sqlite3.connect(tracking_uri.removeprefix("sqlite:///")) as database:
            database.execute("CREATE TABLE experiments (own TEXT)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mlflow_client, "MlflowClient", cut)
        with store.session(checkout / ".encore"):
            pass
    assert not path.exists() and (tmp_path / "cut.db.new").exists()
    with store.session(checkout / ".encore") as client:
        assert [found.name for found in client.search_experiments()] == ["Default"]
    assert path.exists() and not (tmp_path / "cut.db.new").exists()


def test_model_card_is_the_description_and_models_stay_unless_asked(
    checkout: Path, runs: Runs, client: MlflowClient
) -> None:
    for seed, log_models in ((0, False), (1, True)):
        params = {"tracking": {"log_models": log_models}}
        with tracking.start(**settings(params=params, seed=seed, out=f"runs/{seed}")) as run:
            (run.out / "README.md").write_text("# Adapter")
            (run.out / "model").mkdir()
            (run.out / "model/adapter.safetensors").write_bytes(b"weights")
    without, with_model = runs()
    assert without.data.tags["mlflow.note.content"] == "# Adapter"
    assert {file.path for file in client.list_artifacts(without.info.run_id)} == {
        "README.md",
        "metrics.json",
        "run.yaml",
    }
    assert [file.path for file in client.list_artifacts(with_model.info.run_id, "model")] == [
        "model/adapter.safetensors"
    ]
    assert without.data.params == {"seed": "0"}, "settings of the tracking are no parameters of the method"
