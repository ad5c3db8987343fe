"""The feature store: whole shards or none, no strangers, read in part."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors import safe_open

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
    """And one that is not finite, or too small for an inverse, does no harm to its neighbours."""
    store = Store.create(tmp_path, dim=2, dtype=dtype)
    rows = [[torch.nan, torch.nan], [0.0, 0.0], [1.0, -1.0], [torch.inf, 1.0], [1e-41, 0.0], [3.0, -1e38]]
    store.append(list("abcdef"), torch.tensor(rows))
    assert np.isnan(store[0]).all()
    assert np.array_equal(store[[1, 2]], [[0, 0], [1, -1]])
    assert not np.isfinite(store[3]).all()
    assert np.abs(store[4]).max() < 1e-40
    assert np.allclose(store[5], [0, -1e38] if dtype != "fp32" else [3, -1e38])


@pytest.mark.parametrize("rows", [0, 1, 64, 65, 127, 128, 129, 300])
@pytest.mark.parametrize("dtype", ["fp16", "int8", "fp32"])
def test_what_is_written_does_not_depend_on_how_it_is_cut(tmp_path, monkeypatch, dtype, rows):
    """A shard is converted and written in parts, through buffers that are used again: rows must not mix."""
    monkeypatch.setattr("encore.gradients.store._NUMBERS_CONVERTED_AT_ONCE", 8 * DIM)
    monkeypatch.setattr("encore.gradients.store._NUMBERS_WRITTEN_AT_ONCE", 64 * DIM)
    values = torch.randn(rows, DIM, generator=torch.Generator().manual_seed(rows)).numpy()
    store = Store.create(tmp_path, dim=DIM, dtype=dtype)
    store.append([str(row) for row in range(rows)], torch.from_numpy(values))
    largest = np.abs(values).max(1, keepdims=True)
    scaled = {"fp32": values, "fp16": (values / largest).astype(np.float16), "int8": np.round(values / largest * 127)}
    factor = {"fp32": 1, "fp16": largest, "int8": largest / 127}
    wanted = scaled[dtype].astype(np.float32) * factor[dtype]
    step = {"fp32": 0, "fp16": 2**-11, "int8": 1 / 127}[dtype]  # a division rounds here and there to the next number
    assert store[:].shape == (rows, DIM)
    assert (np.abs(store[:] - wanted) <= 1.01 * step * largest).all()
    assert (store[:] != wanted).mean() < 0.01 if rows else True
    store.verify()


def test_rows_of_any_kind_of_tensor_are_taken(tmp_path):
    """Half precision, strided, part of a graph: what a caller's features may be."""
    values = torch.randn(DIM, 70)
    wanted = None
    for number, rows in enumerate(
        (values.T, values.T.contiguous(), values.T.clone().requires_grad_(), values.T.double())
    ):
        store = Store.create(tmp_path / str(number), dim=DIM)
        store.append([str(row) for row in range(70)], rows)
        wanted = store[:] if wanted is None else wanted
        assert np.array_equal(store[:], wanted)
    half = Store.create(tmp_path / "half", dim=DIM)
    half.append([str(row) for row in range(70)], values.T.bfloat16())
    assert np.abs(half[:] - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_row_is_read_without_the_rest(tmp_path):
    store = Store.create(tmp_path, dim=1024)
    for number in range(8):
        store.append([f"{number}-{row}" for row in range(256)], torch.randn(256, 1024))
    store = Store.open(tmp_path)
    assert len(store) == 2048
    tracemalloc.start()
    assert store[[5, 2000]].shape == (2, 1024)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2048 * 1024 * 2 / 20, "two rows of a store of 4 MB"


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


def test_a_sealed_store_is_what_its_index_says(tmp_path):
    """The last shard could be lost, or another run's put in its place, with no gap in the numbers to show it."""
    store, values = filled(tmp_path)
    store.seal([f"e{row}" for row in range(15)])
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["about"] == store.about
    assert index["about"]["dtype"] == "fp16"
    assert [name for shard in index["shards"] for name in shard["ids"]] == store.ids
    assert [shard["crc"] for shard in index["shards"]] == [shard.crc for shard in store.shards]
    last = tmp_path / "rows-000002.safetensors"
    kept = last.read_bytes()
    last.unlink()
    with pytest.raises(UserError, match="15 rows there, 10 here"):
        len(Store.open(tmp_path))
    other = Store.create(tmp_path / "other", **store.about | {"dim": DIM})
    other.write(2, [f"e{row}" for row in range(10, 15)], 2 * torch.from_numpy(values[10:]))
    (tmp_path / "other" / last.name).rename(last)
    with pytest.raises(UserError, match=r"does not hold what its index\.json lists"):
        len(Store.open(tmp_path))
    last.write_bytes(kept)
    assert len(Store.open(tmp_path)) == 15
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(UserError, match=r"index\.json is broken"):
        len(Store.open(tmp_path))
