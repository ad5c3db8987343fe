"""Many workers, one store: however they are started and however they end, the files are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from encore import gradients
from encore.errors import UserError

PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import random_examples, tiny_lora
from encore import gradients
model, examples, projector = tiny_lora(0), random_examples(1, 12), gradients.Sparse(64)
path, ids = sys.argv[1], [name for name, _, _ in examples]
def work(shard):
    return gradients.write_features(path, model, examples, projector, shard=shard, rows_per_shard=3)
"""
"""What a process of its own runs first: the same model and examples as `by_the_loop`."""

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def by_the_loop(kit, tmp_path):
    """(folder, names of the examples) of a store made in one go; every other way must give the same bytes.

    On one thread, as the other processes: how a sum is shared among threads changes its last digit.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model, examples = kit.tiny_lora(0), kit.examples(1, 12)
    gradients.write_features(tmp_path / "loop", model, examples, gradients.Sparse(64), rows_per_shard=3)
    ids = [name for name, _, _ in examples]
    gradients.merge(tmp_path / "loop", ids)
    yield tmp_path / "loop", ids
    torch.set_num_threads(threads)


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_the_number_of_workers_does_not_show(kit, tmp_path):
    model, examples, projector = kit.tiny_lora(0), kit.examples(0, 17), gradients.Sparse(64)
    ids = [name for name, _, _ in examples]

    def work(path):
        def one(shard):
            gradients.write_features(path, model, examples, projector, shard=shard, rows_per_shard=4)

        return one

    gradients.run_workers(work(tmp_path / "one"), 1)
    gradients.run_workers(work(tmp_path / "three"), 3)
    one, three = (gradients.merge(tmp_path / name, ids) for name in ("one", "three"))
    assert one.fingerprint == three.fingerprint
    assert np.array_equal(one[:], three[:])
    exact = gradients.features(model, gradients.batches(examples), projector).numpy()
    assert np.abs(one[:] - exact).max() < 1e-3 * np.abs(exact).max()


def test_folders_of_machines_apart_are_merged_into_one(by_the_loop, kit, tmp_path):
    loop, ids = by_the_loop
    model, examples = kit.tiny_lora(0), kit.examples(1, 12)
    for worker in range(2):
        path = tmp_path / f"machine-{worker}"
        gradients.write_features(path, model, examples, gradients.Sparse(64), shard=(worker, 2), rows_per_shard=3)
        with pytest.raises(UserError, match="lacks shard" if worker else "lacks shard 1"):
            gradients.merge(path, ids)
    for file in (tmp_path / "machine-1").glob("rows-*"):
        file.rename(tmp_path / "machine-0" / file.name)
    gradients.merge(tmp_path / "machine-0", ids)
    assert contents(tmp_path / "machine-0") == contents(loop)


def test_merging_finds_what_is_wrong_with_a_share(by_the_loop, kit, tmp_path):
    loop, ids = by_the_loop

    def refused(message, name, content):
        kept = (loop / name).read_bytes()
        (loop / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            gradients.merge(loop, ids)
        (loop / name).write_bytes(kept)

    whole = (loop / "rows-000001.safetensors").read_bytes()
    refused(r"rows-000001\.safetensors is torn", "rows-000001.safetensors", whole[:-1])
    refused(r"rows-000001\.safetensors is damaged", "rows-000001.safetensors", whole[:-20] + b"?" + whole[-19:])
    gradients.write_features(
        tmp_path / "foreign", kit.tiny_lora(1), kit.examples(1, 12), gradients.Sparse(64), rows_per_shard=3
    )
    foreign = (tmp_path / "foreign" / "rows-000001.safetensors").read_bytes()
    refused("from another store", "rows-000001.safetensors", foreign)
    with pytest.raises(UserError, match="12 rows for 11 examples"):
        gradients.merge(loop, ids[:-1])
    gradients.merge(loop, ids)


def test_a_killed_process_leaves_whole_shards_and_is_resumed(by_the_loop, kit, tmp_path):
    """kill -9 in the middle of the third shard, its bytes written but not yet under its name."""
    loop, ids = by_the_loop
    program = (
        PROGRAM
        + """
import os, time
flushed = os.fsync
def fsync(file):
    if len([name for name in os.listdir(path) if name.startswith("rows-")]) == 2:
        print("writing", flush=True)
        time.sleep(600)
    flushed(file)
os.fsync = fsync
work((0, 1))
"""
    )
    path = tmp_path / "killed"
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        os.kill(writer.pid, signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert list(path.glob(".rows-000002.*.tmp")), "killed too late or too early to test anything"
    kept = {file.name: file.stat().st_mtime_ns for file in path.glob("rows-*")}
    assert sorted(kept) == ["rows-000000.safetensors", "rows-000001.safetensors"]
    with pytest.raises(UserError, match="6 rows for 12 examples"):
        gradients.merge(path, ids)
    gradients.write_features(path, kit.tiny_lora(0), kit.examples(1, 12), gradients.Sparse(64), rows_per_shard=3)
    gradients.merge(path, ids)
    assert kept.items() <= {file.name: file.stat().st_mtime_ns for file in path.glob("rows-*")}.items()
    assert contents(path) == contents(loop)


def test_a_killed_run_goes_on_at_the_last_whole_shard(kit, tmp_path):
    model, examples, projector = kit.tiny_lora(0), kit.examples(1, 12), gradients.Sparse(64)
    done = []

    def killed(n):
        done.append(n)
        if sum(done) > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gradients.write_features(tmp_path, model, examples, projector, rows_per_shard=3, on_batch=killed)
    kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("rows-*")}
    assert len(kept) == 2
    with pytest.raises(UserError, match="6 rows for 12 examples"):
        gradients.merge(tmp_path, [name for name, _, _ in examples])
    done.clear()
    gradients.write_features(tmp_path, model, examples, projector, rows_per_shard=3, on_batch=done.append)
    assert sum(done) == 6, "finished shards are not made again"
    assert kept.items() <= {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("rows-*")}.items()
    gradients.merge(tmp_path, [name for name, _, _ in examples])


PROJECTOR = gradients.Sparse(64)


def test_a_store_of_other_inputs_is_refused_before_any_compute(kit, tmp_path):
    model, examples = kit.tiny_lora(0), kit.examples(2, 4)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    gradients.write_features(tmp_path, model, examples, gradients.Sparse(64))

    def refused(message, model=model, examples=examples, projector=PROJECTOR, state=None, **options):
        forward, model.forward = model.forward, None
        with pytest.raises(UserError, match=message):
            gradients.write_features(tmp_path, model, examples, projector, state, **options)
        model.forward = forward

    refused("another projector", projector=gradients.Sparse(64, seed=1))
    refused("another projector", projector=gradients.Rademacher(64))
    refused("another model", model=kit.tiny_lora(1))
    refused("another examples", examples=examples[::-1])
    refused("another dtype", dtype="int8")
    refused("lacks model", state=optimizer)
    refused("worker's number", shard=(2, 2))
    refused("no response token", examples=[*examples, ("odd", [1, 2], [0, 0])])


def test_norms_have_a_store_too(kit, tmp_path):
    model, examples = kit.tiny_llama(0), kit.examples(3, 9)
    gradients.run_workers(
        lambda shard: gradients.write_norms(tmp_path, model, examples, shard=shard, rows_per_shard=2), 2
    )
    store = gradients.merge(tmp_path, [name for name, _, _ in examples])
    assert store.about["matrices"][0] == "model.layers.0.self_attn.q_proj"
    torch.testing.assert_close(torch.from_numpy(store[:]), gradients.norms(model, gradients.batches(examples)))


def test_launchers(monkeypatch):
    assert gradients.run_workers(lambda shard: shard, 3) == [(0, 3), (1, 3), (2, 3)]
    assert gradients.torchrun_shard() == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert gradients.torchrun_shard() == (2, 4)
    with pytest.raises(UserError, match="neither"):
        gradients.run_workers(lambda shard: shard, 2, launcher="slurm")


def test_torchrun_gives_what_the_loop_gives(by_the_loop, tmp_path):
    loop, _ = by_the_loop
    program = (
        PROGRAM
        + """
import torch.distributed
torch.distributed.init_process_group("gloo")
assert torch.distributed.get_world_size() == 2
work(gradients.torchrun_shard())
torch.distributed.barrier()
if torch.distributed.get_rank() == 0:
    gradients.merge(path, ids)
torch.distributed.destroy_process_group()
"""
    )
    (tmp_path / "program.py").write_text(program)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, tmp_path / "program.py", tmp_path / "torchrun"], check=True, env=ENVIRONMENT)
    assert contents(tmp_path / "torchrun") == contents(loop)


def test_ray_gives_what_the_loop_gives(by_the_loop, kit, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra `ray`)")
    loop, ids = by_the_loop
    model, examples, path = kit.tiny_lora(0), kit.examples(1, 12), str(tmp_path / "ray")

    def work(shard):
        store = gradients.write_features(path, model, examples, gradients.Sparse(64), shard=shard, rows_per_shard=3)
        return os.getpid(), store.fingerprint

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = gradients.run_workers(work, 2, launcher="ray", num_cpus=1)
    finally:
        ray.shutdown()
    assert os.getpid() not in [process for process, _ in found]
    gradients.merge(path, ids)
    assert contents(tmp_path / "ray") == contents(loop)


def test_a_missing_ray_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'encore\[ray\]'"):
        gradients.run_workers(lambda shard: shard, 2, launcher="ray")
