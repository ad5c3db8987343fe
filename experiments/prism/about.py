"""What the page says of the run itself: models, data, decoding, machine, and whether the scale is the paper's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from encore import tracking
from encore.report.comparison import Meta
from encore.report.narrative import environment_name
from encore.report.reported import ReportedNumbers
from encore.report.verdict import RULE
from encore.tracking import provenance


def of_probes(environment: str, names: list[str]) -> str:
    """One sentence on which models were probed in an environment."""
    where = environment_name(environment)
    if len(names) > 1:
        return f"{where}: {len(names)} probes compared: {', '.join(names)}."
    if not names:
        return f"{where}: not probed."
    return (
        f"{where}: one model probed. Another model's or checkpoint's probe.npz in runs/prism/probe/{environment}-NAME "
        "adds the agreement of rankings between them."
    )


def _backbone(source: str, numbers: ReportedNumbers) -> tuple[str, bool]:
    """The paper's model whose numbers stand beside, and whether it is the one trained here."""
    name = source.rstrip("/").rpartition("/")[2].lower()
    same = [backbone for backbone in numbers.backbones() if backbone.lower() == name]
    return (same or numbers.backbones())[0], bool(same)


def meta(params: dict[str, Any], numbers: ReportedNumbers, run: tracking.Run) -> Meta:
    """The head and the provenance of the page, from the resolved parameters and the record of the comparing run."""
    record = run.record
    git = record.get("git") or {}
    hardware = provenance.hardware()
    alfworld, webshop, evaluation = params["alfworld"], params["webshop"], params["evaluation"]
    chosen = params["prism"]["environments"]
    backbone, same_model = _backbone(params["policy"]["source"], numbers)
    official = {"alfworld": alfworld["games"] == "official", "webshop": webshop["shop"] == "official"}
    decoding = "greedy" if evaluation["temperature"] == 0 else f"T {evaluation['temperature']:g}"
    notes = []
    if "alfworld" in chosen:
        games = "official" if official["alfworld"] else f"generated, {alfworld['size']} rooms"
        notes.append(
            f"ALFWorld games: {games}; dialect {alfworld['dialect']}; at most {alfworld['max_steps']} steps; the list "
            "of admissible actions is not shown; an invalid action counts as a step."
        )
    if "webshop" in chosen:
        shop = "official"
        if not official["webshop"]:
            shop = f"generated, {webshop['n_shops']} of {webshop['n_products']} products each"
        notes.append(f"WebShop shops: {shop}; {webshop['goals']} goals; at most {webshop['max_steps']} steps.")
    notes.append(
        f"Decoding: {decoding}. Every arm and seed plays the same games, which the comparison checks. Seeds cover the "
        "order of training, RL's episodes and the draw of random splits; the probe, and so PRISM's split, has no seed."
    )
    return Meta(
        paper="prism",
        title=numbers.title,
        profile=params["profile"],
        backbone=params["policy"]["source"],
        reported_backbone=backbone,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=f"{git.get('commit', 'unknown')}{' with uncommitted changes' if git.get('dirty') else ''}",
        command=f"encore profile use {params['profile']} && dvc repro prism.compare",
        machine=", ".join(f"{key} {value}" for key, value in hardware.items() if value),
        versions={key: str(value) for key, value in record["versions"].items()},
        warnings=list(numbers.warnings.values()),
        notes=notes,
        same_scale=same_model and all(official[name] for name in chosen),
        rule=list(RULE),
        mlflow_experiment="prism",
        reported_scale=numbers.scale,
        how_to_add="Add one file with one class to src/encore/arbitration/arms/ and its name to prism.methods in "
        "params.yaml; then `make repro`.",
    )
