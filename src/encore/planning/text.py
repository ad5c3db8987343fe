"""A plan as text for people, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from encore.planning.memory import GB
from encore.planning.plan import BackbonePlan, Plan, StagePlan


def as_json(plan: Plan) -> str:
    """All of it, with the derived numbers."""
    content: dict[str, Any] = dataclasses.asdict(plan)
    for shown, one in zip(content["backbones"], plan.backbones, strict=True):
        shown |= {"device_h": one.device_h, "wall_h": one.wall_h, "flops": one.flops, "disk_bytes": one.disk}
        for row, stage in zip(shown["stages"], one.stages, strict=True):
            row |= {"device_h": stage.device_h, "flops": stage.flops, "wall_h": stage.wall_h(one.devices)}
    content |= {"device_h": sum(one.device_h for one in plan.backbones), "price": plan.price}
    return json.dumps(content, indent=1)


def as_text(plan: Plan) -> str:
    """Every backbone, then the totals."""
    lines = [f"# Plan of {plan.paper}, profile {plan.profile}", "Nothing was run, fetched or written."]
    for one in plan.backbones:
        lines += ["", *_backbone(one)]
    lines += ["", "## Totals", ""]
    rows = [["backbone", "hours of a device", "wall-clock", "PFLOPs", "disk"]]
    for one in plan.backbones:
        rows.append([one.name, _hours(one.device_h), _wall(one), _number(one.flops / 1e15), _bytes(one.disk)])
    if len(plan.backbones) > 1:
        all_of = plan.backbones
        rows.append(
            [
                "together",
                _hours(sum(one.device_h for one in all_of)),
                f"{_hours(sum(one.wall_h for one in all_of))} on {all_of[0].devices}",
                _number(sum(one.flops for one in all_of) / 1e15),
                _bytes(sum(one.disk for one in all_of)),
            ]
        )
    lines += _table(rows)
    unknown = sorted({stage.name for one in plan.backbones for stage in one.stages if stage.estimate == "no estimate"})
    if unknown:
        lines.append(f"Without: {', '.join(unknown)} (no estimate).")
    if plan.price is None:
        lines.append("Price: no rate is given (tracking.price_per_device_hour=…).")
    else:
        lines.append(f"Price: {plan.price:,.0f}, at {plan.backbones[0].rate:g} an hour of a device.")
    return "\n".join(lines) + "\n"


def _backbone(one: BackbonePlan) -> list[str]:
    lines = [f"## {one.name}", ""]
    lines.append(f"{one.architecture}, {one.parameters / 1e9:.3g} B parameters (meta device); shape: {one.source}")
    if one.overrides:
        lines.append(f"Overrides of the profile: {' '.join(one.overrides)}")
    for title, listed in (("Checked", one.checked), ("Stand-ins", one.notes), ("Warnings", one.warnings)):
        if listed:
            lines += ["", f"### {title}", "", *(f"- {line}" for line in listed)]
    if one.built:
        lines += ["", "### Built and used once, at 2 layers of reduced width with random weights", ""]
        lines += [f"- {made.what}: {made.how}" for made in one.built]
    if one.fits:
        lines += ["", "### Memory of a GPU, estimated, GB", ""]
        rows = [["phase", "one process", "DDP", "FSDP", "of it, as planned", ""]]
        for fit in one.fits:
            parts = ", ".join(f"{name} {value:.1f}" for name, value in fit["parts_gb"].items() if value >= 0.05)
            numbers = [f"{fit[name]:.0f}" for name in ("one_gpu_gb", "ddp_gb", "fsdp_gb")]
            rows.append([fit["phase"], *numbers, parts, fit["verdict"]])
        lines += _table(rows)
    lines += ["", "### Stages", ""]
    head = ["stage", "cells", "tokens", "PFLOPs", f"{one.device} hours", f"wall on {one.devices}", "longest cell"]
    rows = [[*head, "kept", "scratch of a cell", ""]]
    for stage in one.stages:
        rows.append(_stage_row(stage, one.devices))
    lines += _table(rows)
    detail = [["stage", "phase", "", "tokens", "PFLOPs", "hours", "rate"]]
    for stage in one.stages:
        for phase in stage.phases:
            numbers = [_number(phase.tokens), _number(phase.flops / 1e15), _hours(phase.device_h)]
            detail.append([stage.name, phase.name, phase.kind, *numbers, phase.basis])
    if len(detail) > 1:
        lines += ["", "### Phases", "", *_table(detail)]
    launched = [stage for stage in one.stages if stage.launch]
    if launched:
        lines += ["", "### How stages start (the last cell)", ""]
        lines += [f"- {stage.launch}" for stage in launched]
    if one.reported:
        lines += ["", "### One run beside the paper, whose machine and lengths are its own", ""]
        rows = [["run", "paper's wall-clock", "paper's GPU hours", "GPU hours planned", "paper over plan"]]
        for run in one.reported:
            known = run["paper_gpu_h"]
            hours = "machine not named" if known is None else _hours(known)
            ratio = "" if known is None else f"{known / run['plan_gpu_h']:.1f}"
            rows.append([run["name"], run["printed"], hours, _hours(run["plan_gpu_h"]), ratio])
        lines += _table(rows)
    lines += ["", "### Assumptions", ""]
    lines += [f"- {name}: {value}" for name, value in one.assumptions.items()]
    return lines


def _stage_row(stage: StagePlan, devices: int) -> list[str]:
    row = [stage.name, str(stage.cells)]
    if stage.phases and stage.estimate == "estimated":
        row += [_number(stage.tokens), _number(stage.flops / 1e15), _hours(stage.device_h)]
        row += [_hours(stage.wall_h(devices)), _hours(stage.longest_h)]
        return [*row, _bytes(stage.kept), _bytes(stage.scratch), ""]
    return [*row, "-", "-", "-", "-", "-", _bytes(stage.kept), _bytes(stage.scratch), stage.estimate]


def _wall(one: BackbonePlan) -> str:
    return f"{_hours(one.wall_h)} on {one.devices}"


def _hours(hours: float) -> str:
    if hours >= 10:
        return f"{hours:,.0f} h"
    if hours >= 1:
        return f"{hours:.1f} h"
    if hours >= 1 / 60:
        return f"{hours * 60:.0f} min"
    return f"{hours * 3600:.0f} s"


def _number(value: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def _bytes(value: float) -> str:
    if value >= 1e12:
        return f"{value / 1e12:.2f} TB"
    if value >= GB:
        return f"{value / GB:.1f} GB"
    return f"{value / 1e6:.0f} MB" if value >= 1e6 else "-"


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
