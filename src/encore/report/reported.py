"""The numbers a paper prints: `experiments/<paper>/reported.yaml` (its head tells the schema), checked, looked up."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from encore.errors import UserError
from encore.report.comparison import ReportedValue
from encore.report.reported_numbers import Key, PaperClaim, PaperCostClaim, PaperFigure, ReportedNumbers, Setting

__all__ = ["PaperClaim", "PaperCostClaim", "ReportedError", "ReportedNumbers", "load", "seconds"]

UNITS = ("percent", "points", "duration", "ratio")
BASES = ("reported", "figure", "implied")
COST_KINDS = ("faster", "probe_share")
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
# Two printed values of two decimals differ from their exact difference by at most this; 5.4 in prose stands for 5.40.
PRINTED_ROUNDING = 0.011


class ReportedError(UserError):
    """A reported.yaml that cannot be used: one line with the file, the place in it and what to do."""


def load(path: Path | str) -> ReportedNumbers:
    """Reads and checks a reported.yaml.

    Raises ReportedError, in one line, where a key is missing, a row does not fit its columns, a unit or warning is
    unknown, two tables contradict each other, or a stated difference does not follow from the tables.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ReportedError(f"{path}: there is no such file; reported numbers live beside their experiment") from error
    except yaml.YAMLError as error:
        raise ReportedError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    reader = _Reader(path)
    if not isinstance(content, dict):
        reader.fail("the file", "is not a mapping")
    warnings = {str(item["id"]): str(item["text"]).strip() for item in content.get("warnings") or []}
    methods = {str(key): str(label) for key, label in reader.need(content, "methods", "the file").items()}
    types = dict(content.get("task_types") or {})
    values: dict[Key, dict[str, ReportedValue]] = {}
    for block in reader.need(content, "blocks", "the file"):
        for key, value in reader.block(block, warnings, methods, types):
            known = values.setdefault(key, {}).setdefault(value.backbone, value)
            if known.value != value.value:
                reader.fail(value.source, f"gives {value.value} for {key[:4]}, {known.source} gives {known.value}")
    settings = {
        str(name): Setting(
            str(item["text"]), None if item["methods"] is None else tuple(item["methods"]), item["reason"]
        )
        for name, item in (content.get("settings") or {}).items()
    }
    settings.setdefault("full", Setting("as in the paper", None, "not printed in the paper"))
    numbers = ReportedNumbers(
        paper=str(reader.need(content, "paper", "the file")),
        title=str(reader.need(content, "title", "the file")),
        citation=str(content.get("citation") or ""),
        scale=str(reader.need(content, "scale", "the file")).strip(),
        warnings=warnings,
        settings=settings,
        methods=methods,
        values=values,
        claims=[claim for item in content.get("claims") or [] for claim in reader.claim(item, settings, methods)],
        cost_claims=[reader.cost_claim(item, methods) for item in content.get("cost_claims") or []],
        figures=[reader.figure(item, methods) for item in content.get("figures") or []],
        content=content,
    )
    for delta in content.get("deltas") or []:
        reader.delta(delta, numbers)
    return numbers


def seconds(duration: str) -> float:
    """Seconds of a printed duration such as 36h13m or 1m48s. Raises ValueError for anything else."""
    match = DURATION.fullmatch(duration)
    if not match or not any(match.groups()):
        raise ValueError(f"'{duration}' is no duration; write it like 5h53m or 1m48s")
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + rest)


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path

    def fail(self, where: str, what: str) -> None:
        raise ReportedError(f"{self.path}: {where} {what}")

    def need(self, content: Mapping[str, Any], key: str, where: str) -> Any:
        if content.get(key) is None:
            self.fail(where, f"has no '{key}'; add it")
        return content[key]

    def block(
        self,
        block: Mapping[str, Any],
        warnings: Mapping[str, str],
        methods: Mapping[str, str],
        types: Mapping[str, str],
    ) -> Iterable[tuple[Key, ReportedValue]]:
        where = f"block {block.get('id', '?')}"
        source, environment = self.need(block, "source", where), self.need(block, "environment", where)
        panel, backbone = self.need(block, "panel", where), self.need(block, "backbone", where)
        for name in block.get("warnings") or []:
            if name not in warnings:
                self.fail(where, f"names warning '{name}', which is not under warnings")
        warning = " ".join(warnings[name] for name in block.get("warnings") or []) or None
        columns = self.need(block, "columns", where)
        for method, cells in self.need(block, "rows", where).items():
            if method not in methods:
                self.fail(where, f"has a row '{method}', which is not under methods")
            if len(cells) != len(columns):
                self.fail(where, f"row {method} has {len(cells)} cells for {len(columns)} columns")
            for column, cell in zip(columns, cells, strict=True):
                if cell is None:
                    continue
                merged = {**block, **column}
                metric, unit = self.need(merged, "metric", where), self.need(merged, "unit", where)
                if unit not in UNITS:
                    self.fail(where, f"has unit '{unit}'; choose from {', '.join(UNITS)}")
                task_type = column.get("task_type")
                if task_type is not None and task_type not in types:
                    self.fail(where, f"has task type '{task_type}', which is not under task_types")
                key = (environment, method, panel, metric, None if task_type is None else types[task_type])
                value = self.number(cell, unit, f"{where} row {method}")
                unit = "seconds" if unit == "duration" else unit
                yield key, ReportedValue(value, unit, source, warning, block.get("episodes"), backbone)

    def number(self, cell: Any, unit: str, where: str) -> float:
        try:
            value = seconds(str(cell)) if unit == "duration" else float(cell)
        except (TypeError, ValueError) as error:
            self.fail(where, f"holds '{cell}': {error}")
            raise
        if not math.isfinite(value) or value < 0 or (unit in ("percent", "points") and value > 100):
            self.fail(where, f"holds {cell}, which is no value in {unit}")
        return value

    def claim(
        self, item: Mapping[str, Any], settings: Mapping[str, Setting], methods: Mapping[str, str]
    ) -> Iterable[PaperClaim]:
        where = f"claim {item.get('id', '?')}"
        fields = {name: str(self.need(item, name, where)) for name in ("id", "text", "setting", "basis", "environment")}
        a, b = self.need(item, "a", where), self.need(item, "b", where)
        for arm in (a, b):
            if arm not in methods:
                self.fail(where, f"names arm '{arm}', which is not under methods")
        if fields["setting"] not in settings:
            self.fail(where, f"names setting '{fields['setting']}', which is not under settings")
        if fields["basis"] not in BASES:
            self.fail(where, f"has basis '{fields['basis']}'; choose from {', '.join(BASES)}")
        metric, source = str(item.get("metric", "success")), str(item.get("source", ""))
        for panel in self.need(item, "panels", where):
            yield PaperClaim(**fields, a=str(a), b=str(b), panel=str(panel), metric=metric, source=source)

    def cost_claim(self, item: Mapping[str, Any], methods: Mapping[str, str]) -> PaperCostClaim:
        where = f"cost claim {item.get('id', '?')}"
        fields = {
            name: str(self.need(item, name, where)) for name in ("id", "text", "kind", "environment", "source", "a")
        }
        if fields["kind"] not in COST_KINDS:
            self.fail(where, f"has kind '{fields['kind']}'; choose from {', '.join(COST_KINDS)}")
        b = str(self.need(item, "b", where)) if fields["kind"] == "faster" else ""
        bound = float(self.need(item, "bound", where)) if fields["kind"] == "probe_share" else 0.0
        for arm in (fields["a"], b):
            if arm and arm not in methods:
                self.fail(where, f"names arm '{arm}', which is not under methods")
        return PaperCostClaim(**fields, b=b, bound=bound)

    def figure(self, item: Mapping[str, Any], methods: Mapping[str, str]) -> PaperFigure:
        where = f"figure {item.get('source', '?')}"
        source, environment, shows = (str(self.need(item, name, where)) for name in ("source", "environment", "shows"))
        arms = tuple(str(arm) for arm in self.need(item, "methods", where))
        for arm in arms:
            if arm not in methods:
                self.fail(where, f"names arm '{arm}', which is not under methods")
        return PaperFigure(source, environment, arms, shows)

    def delta(self, item: Mapping[str, Any], numbers: ReportedNumbers) -> None:
        arms = []
        for arm in ("a", "b"):
            at = (item["environment"], item[arm], item["panel"], item["metric"])
            found = numbers.lookup(*at, backbone=item["backbone"])
            if found is None:
                self.fail("deltas", f"name {at}, which no block holds")
            else:
                arms.append(found.value)
        difference = arms[0] - arms[1]
        if abs(difference - item["value"]) > PRINTED_ROUNDING:
            self.fail("deltas", f"say {item['a']} - {item['b']} = {item['value']}, the tables {difference:.2f}")
