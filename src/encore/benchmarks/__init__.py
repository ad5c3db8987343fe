"""Open-ended benchmarks, each with train, validation and test rows and the metric that checks an answer."""

from encore.benchmarks.constraints import Constraint
from encore.benchmarks.items import Benchmark, Item, read_items, write_items
from encore.benchmarks.registry import SOURCES, BenchmarkSettings, known, load, names

__all__ = [
    "SOURCES",
    "Benchmark",
    "BenchmarkSettings",
    "Constraint",
    "Item",
    "known",
    "load",
    "names",
    "read_items",
    "write_items",
]
