"""The one line that a stage prints at its end: what it made, what came out, what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SHOWN_RESULTS = 4


def summary_line(folder: Path, shown_as: Path, record: Mapping[str, Any], results: Mapping[str, Any], note: str) -> str:
    """`prism.train: made runs/x (12 files, 3.1 MB) | success 0.31 | 2 min 3 s, 12.3k tokens trained | MLflow: sent`."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    made = (
        f"{record['stage']}: made {shown_as} ({len(files)} files, {size(sum(file.stat().st_size for file in files))})"
    )
    numbers = dict(flatten_numbers(results))
    shown = [f"{key} {value:.4g}" for key, value in list(numbers.items())[:SHOWN_RESULTS]]
    if len(numbers) > SHOWN_RESULTS:
        shown.append(f"and {len(numbers) - SHOWN_RESULTS} more results")
    return " | ".join(part for part in (made, ", ".join(shown), cost_text(record["costs"]), note) if part)


def cost_text(costs: Mapping[str, Any]) -> str:
    """`2 min 3 s, 12.3k tokens trained, 0.0041 kWh, 812 MB`: what is not zero or unknown."""
    parts = [duration(costs["wall_s"])]
    counters = {
        "tokens_trained": "tokens trained",
        "tokens_generated": "tokens generated",
        "environment_steps": "environment steps",
        "flops": "FLOPs",
    }
    parts += [f"{short(costs[name])} {text}" for name, text in counters.items() if costs.get(name)]
    if costs.get("energy_kwh") is not None:
        parts.append(f"{costs['energy_kwh']:.2g} kWh")
    if costs.get("price") is not None:
        parts.append(f"price {costs['price']:.2g}")
    parts.append(f"{costs['peak_memory_mb']:.0f} MB")
    return ", ".join(parts)


def flatten_numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in nested dicts with dotted names; text, lists and None are no metrics and are left out."""
    special = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten_numbers(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float):
            yield f"{prefix}{key}", float(value)
        elif isinstance(value, str) and value in special:
            yield f"{prefix}{key}", special[value]


def duration(seconds: float) -> str:
    """`0.4 s`, `2 min 3 s`, `1 h 12 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short(number: float) -> str:
    """`950`, `12.3k`, `4.5M`, `1.2e+15`."""
    for limit, divisor, unit in ((1e3, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "G")):
        if abs(number) < limit:
            return f"{number / divisor:.0f}" if not unit else f"{number / divisor:.1f}{unit}"
    return f"{number:.2g}"


def size(count: int) -> str:
    """Bytes as kB, MB or GB."""
    for limit, divisor, unit in ((1e6, 1e3, "kB"), (1e9, 1e6, "MB"), (float("inf"), 1e9, "GB")):
        if count < limit:
            return f"{count / divisor:.1f} {unit}"
    raise AssertionError("infinity bounds every size")
