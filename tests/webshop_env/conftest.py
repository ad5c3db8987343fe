"""Shops that several tests use. Nothing is read from or written to the cache folder of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from webshop_env import Shop, generate_shop, load_shop

GOLDEN = "fixtures/webshop"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("webshop-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEBSHOP_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def golden(shared: Callable[[str], Path]) -> Path:
    """Folder of the official 1,000-product set and the recordings of the original engine; skips where it is absent."""
    return shared(GOLDEN)


@pytest.fixture(scope="session")
def official(golden: Path, cache: Path) -> Shop:
    return load_shop(golden, price_seed=0)


@pytest.fixture(scope="session")
def official_human(golden: Path, cache: Path) -> Shop:
    return load_shop(golden, goals="human", price_seed=0)


@pytest.fixture(scope="session")
def shop() -> Shop:
    return generate_shop(120, seed=3)


@pytest.fixture(scope="session")
def small_shop() -> Shop:
    return generate_shop(60, seed=3, size="small")
