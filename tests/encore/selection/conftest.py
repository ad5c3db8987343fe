"""Random problems, stores of their rows, and the slow walk that ours must equal."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from encore.gradients import Store


@pytest.fixture(scope="session")
def peers() -> ModuleType:
    """The walk in plain numpy that the benchmark runs beside ours; golden cases hold it too."""
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "selection_peers.py"
    spec = importlib.util.spec_from_file_location("selection_peers", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["selection_peers"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def problem() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`problem(seed, n, dim, targets, mean)`: rows of a pool and of targets, about `mean` times a common direction.

    Without a mean half of all pairs conflict; with a large one none does.
    """

    def make(seed: int, n: int = 60, dim: int = 8, targets: int = 12, mean: float = 0.5) -> tuple:
        random = np.random.default_rng(seed)
        common = random.normal(size=dim)
        common /= np.linalg.norm(common)
        scales = random.gamma(1.0, size=dim) + 0.1  # a spectrum that falls
        pool = random.normal(size=(n, dim)) * scales / np.linalg.norm(scales) + mean * common
        return pool * random.gamma(2.0, size=(n, 1)), random.normal(size=(targets, dim)) * scales + common

    return make


@pytest.fixture
def store_of(tmp_path) -> Callable[..., Store]:
    """`store_of(rows, dtype)`: a sealed store of them in shards of unequal length."""

    def make(rows: np.ndarray, dtype: str = "fp32", shards: int = 3, **about) -> Store:
        folder = tmp_path / f"store{len(list(tmp_path.iterdir()))}"
        store = Store.create(folder, dim=rows.shape[1], dtype=dtype, **about)
        ends = np.unique(np.linspace(0, len(rows) ** 0.5, shards + 1).round() ** 2).astype(int)
        ends[-1] = len(rows)
        for number, (start, end) in enumerate(pairwise(ends)):
            ids = [f"row-{place}" for place in range(start, end)]
            store.write(number, ids, torch.as_tensor(rows[start:end]))
        store.seal(store.ids)
        return Store.open(folder)

    return make
