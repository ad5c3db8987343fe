"""The feature store: whole shards or none, no strangers, read in part, resumed; and many workers' shares of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

from encore import gradients
from encore.errors import UserError
from encore.gradients.store import Store

DIM = 32


def filled(path, dtype="fp16", shards=3, rows=5):
    store = Store.create(path, dim=DIM, dtype=dtype, projector={"kind": "sparse", "seed": 0})
    values = torch.randn(shards * rows, DIM) * torch.logspace(-9, 6, shards * rows)[:, None]
    for number in range(shards):
        span = slice(number * rows, (number + 1) * rows)
        store.append([f"e{row}" for row in range(shards * rows)][span], values[span])
    return store, values.numpy()


@pytest.mark.parametrize(("dtype", "error"), [("fp32", 0), ("fp16", 5e-4), ("int8", 0.5 / 127)])
def test_rows_of_any_scale_come_back(tmp_path, dtype, error):
    _, values = filled(tmp_path, dtype)
    store = Store.open(tmp_path)
    assert len(store) == 15
    assert store.ids == [f"e{row}" for row in range(15)]
    largest = np.abs(values).max(1, keepdims=True)
    assert (np.abs(store[:] - values) <= error * largest * 1.01).all()
    assert store[:].dtype == np.float32


def test_any_part_can_be_read(tmp_path):
    store, _ = filled(tmp_path)
    everything = store[:]
    assert np.array_equal(store[7], everything[7])
    assert np.array_equal(store[-1], everything[-1])
    assert np.array_equal(store[3:12:2], everything[3:12:2])
    assert np.array_equal(store[[14, 0, 7, 0]], everything[[14, 0, 7, 0]])
    assert np.array_equal(store[np.arange(15) % 2 == 0], everything[::2])
    assert np.array_equal(np.concatenate(list(store.chunks(4))), everything)
    with pytest.raises(IndexError):
        _ = store[15]


@pytest.mark.parametrize("dtype", ["fp16", "int8", "fp32"])
def test_a_shard_is_a_safetensors_file(tmp_path, dtype):
    store, _ = filled(tmp_path, dtype, shards=1, rows=70)
    with safe_open(tmp_path / "rows-000000.safetensors", "pt") as file:
        values, scales = file.get_tensor("values"), file.get_tensor("scales")
        assert file.metadata()["fingerprint"] == store.fingerprint
    assert np.array_equal(values.float().numpy() * scales[:, None].numpy(), store[:])
    store.verify()


@pytest.mark.parametrize("dtype", ["fp16", "int8", "fp32"])
def test_a_row_without_a_number_stays_one(tmp_path, dtype):
    store = Store.create(tmp_path, dim=2, dtype=dtype)
    store.append(["a", "zero", "c"], torch.tensor([[torch.nan, torch.nan], [0.0, 0.0], [1.0, -1.0]]))
    assert np.isnan(store[0]).all()
    assert np.array_equal(store[1:], [[0, 0], [1, -1]])


def test_a_torn_shard_is_made_again(tmp_path):
    store, values = filled(tmp_path)
    last = tmp_path / "rows-000002.safetensors"
    whole, rows = last.read_bytes(), store[:]
    for size in (0, 5, 200, len(whole) - 1):
        last.write_bytes(whole[:size])
        assert not Store.open(tmp_path).written(2, [f"e{row}" for row in range(10, 15)])
        with pytest.raises(UserError, match="is torn"):
            len(Store.open(tmp_path))
    store.write(2, [f"e{row}" for row in range(10, 15)], torch.from_numpy(values[10:]))
    assert np.array_equal(Store.open(tmp_path)[:], rows)


def test_a_flipped_bit_is_seen(tmp_path):
    store, _ = filled(tmp_path)
    store.verify()
    path = tmp_path / "rows-000001.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"rows-000001\.safetensors is damaged"):
        store.verify()


def test_strangers_are_refused(tmp_path):
    store, _ = filled(tmp_path / "one")
    other = Store.create(tmp_path / "two", dim=DIM, projector={"kind": "sparse", "seed": 1})
    other.append(["x"], torch.ones(1, DIM))
    with pytest.raises(UserError, match=r"another projector.*'seed': 0.*'seed': 1"):
        Store.create(tmp_path / "one", dim=DIM, projector={"kind": "sparse", "seed": 1})
    (tmp_path / "two" / "rows-000000.safetensors").rename(tmp_path / "one" / "rows-000003.safetensors")
    with pytest.raises(UserError, match="from another store"):
        store.verify()
    with pytest.raises(UserError, match="not a feature store"):
        Store.open(tmp_path)
    with pytest.raises(UserError, match="fp16, int8, fp32"):
        Store.create(tmp_path / "three", dim=DIM, dtype="fp8")
    with pytest.raises(UserError, match="rows are"):
        other.append(["x", "y"], torch.ones(1, DIM))


def test_a_seal_needs_every_row_in_place(tmp_path):
    store, _ = filled(tmp_path)
    ids = [f"e{row}" for row in range(15)]
    with pytest.raises(UserError, match="15 rows for 16 examples"):
        store.seal([*ids, "more"])
    with pytest.raises(UserError, match="another order"):
        store.seal(ids[::-1])
    store.seal(ids)
    assert (tmp_path / "index.json").exists()
    store.append(["more"], torch.ones(1, DIM))
    assert not (tmp_path / "index.json").exists(), "a store that has grown is to be sealed again"
    store.seal([*ids, "more"])
    (tmp_path / "rows-000001.safetensors").unlink()
    with pytest.raises(UserError, match="lacks shard 1"):
        store.seal(ids)


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


def test_ray_gives_what_the_loop_gives():
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra `ray`)")
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        assert gradients.run_workers(lambda shard: shard, 3, launcher="ray") == [(0, 3), (1, 3), (2, 3)]
    finally:
        ray.shutdown()
