"""Outputs of PRISM's stages as they lie on disk, with invented outcomes: what prism.compare reads, in a second."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from encore import arbitration

TYPES = {
    "alfworld": (
        "pick_and_place_simple",
        "look_at_obj_in_light",
        "pick_clean_then_place_in_recep",
        "pick_heat_then_place_in_recep",
        "pick_cool_then_place_in_recep",
        "pick_two_obj_and_place",
    ),
    "webshop": ("beauty", "garden", "grocery"),
}
PANELS = {"alfworld": {"seen": 36, "unseen": 30}, "webshop": {"test": 36, "unseen": 24}}
LAPTOP = (
    "base", "sft", "grpo", "gigpo", "random", "hpt", "hpt_online", "sft_then_rl", "prism_gini", "prism_kurtosis",
    "prism_cv", "inverse_gini", "inverse_kurtosis", "inverse_cv", "l2",
)  # fmt: skip
CHANCE = {"base": 0.0, "sft": 0.35, "grpo": 0.45, "random": 0.5, "prism_gini": 0.75, "inverse_gini": 0.4}
PHASES = {"sft": 40.0, "rollout": 25.0, "update": 35.0}


@dataclass
class Tree:
    """A folder with runs/prism for some arms; `panels` are numbers of games."""

    root: Path
    environments: Sequence[str] = ("alfworld", "webshop")
    methods: Sequence[str] = LAPTOP
    seeds: Sequence[int] = (0, 1)
    panels: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: PANELS)
    examples: int = 40
    layers: int = 3

    def write(self) -> Tree:
        """Writes every stage of every cell."""
        for environment in self.environments:
            self.probe(environment, environment)
            self.record(
                self.folder("pass_rates", environment),
                {"pass_rates": 20.0},
                tokens_generated=500,
                environment_steps=240,
            )
            for method in self.methods:
                for seed in self.seeds:
                    self.cell(environment, method, seed)
        return self

    def folder(self, stage: str, name: str) -> Path:
        folder = self.root / "runs/prism" / stage / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def record(self, folder: Path, phases: Mapping[str, float], **counters: float) -> None:
        spent = {name: {"wall_s": wall_s, "device_h": wall_s / 3600} for name, wall_s in phases.items()}
        costs = {
            "phases": {**spent, "other": {"wall_s": 999.0, "device_h": 0.3}, "tracking": {"wall_s": 99.0}},
            "tokens_trained": 0,
            "tokens_generated": 0,
            "environment_steps": 0,
            "flops": 1e9,
            "device_h": sum(phases.values()) / 3600,
            "energy_kwh": None,
            "price": None,
            "peak_memory_mb": 500.0,
            **counters,
        }
        (folder / "run.yaml").write_text(yaml.safe_dump({"costs": costs}), encoding="utf-8")

    def probe(self, environment: str, name: str, noise: float = 0.0) -> None:
        """A probe whose norms go with length; `noise` makes another model's."""
        generator = np.random.default_rng(1)
        lengths = generator.integers(50, 400, self.examples)
        tilt = lengths[:, None] / 400 * np.linspace(0, 2, 7 * self.layers)
        norms = np.exp(tilt + 0.3 * generator.standard_normal((self.examples, 7 * self.layers)))
        norms *= np.exp(noise * np.random.default_rng(2).standard_normal(norms.shape))
        kinds = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")
        types = TYPES[environment]
        folder = self.folder("probe", name)
        np.savez(
            folder / "probe.npz",
            norms=norms.astype(np.float32),
            losses=generator.random(self.examples),
            ids=np.array([f"{environment}-{index}" for index in range(self.examples)]),
            matrices=np.array([f"model.layers.{i}.{kind}_proj" for i in range(self.layers) for kind in kinds]),
            matrix_sizes=np.full(7 * self.layers, 64),
            lengths=lengths,
            responses=lengths // 3,
            turns=lengths // 40,
            task_types=np.array([types[index % len(types)] for index in range(self.examples)]),
        )
        self.record(folder, {"probe": 2.0})

    def cell(self, environment: str, method: str, seed: int) -> None:
        """Split, train and evaluate of one arm under one seed."""
        name = f"{environment}-{method}-{seed}"
        probe = np.load(self.root / f"runs/prism/probe/{environment}/probe.npz")
        columns: dict[str, Any] = {key: probe[key] for key in ("norms", "losses", "lengths", "task_types")}
        columns["matrix_sizes"] = np.tile(probe["matrix_sizes"], (self.examples, 1))
        columns["pass_rates"] = np.random.default_rng(3).random(self.examples)
        split = arbitration.arm(method).split(arbitration.Context(self.examples, seed, columns=columns))
        routes = {
            half: [str(probe["ids"][i]) for i in places] for half, places in (("sft", split.sft), ("rl", split.rl))
        }
        path = self.folder("split", environment) / f"{method}-{seed}.json"
        path.write_text(json.dumps(routes), encoding="utf-8")
        parts = {"sft": len(split.sft), "rollout": len(split.rl), "update": len(split.rl)}
        phases = {phase: PHASES[phase] * part / self.examples for phase, part in parts.items() if part}
        self.record(
            self.folder("train", name),
            {phase: wall_s * (1 + 0.1 * seed) for phase, wall_s in phases.items()},
            tokens_trained=1000 * len(split.sft),
            environment_steps=10 * len(split.rl),
        )
        folder = self.folder("evaluate", name)
        self.record(folder, {"evaluate": 500.0}, tokens_generated=10_000, environment_steps=9_000)
        (folder / "tables").mkdir(exist_ok=True)
        rows = self.episodes(environment, method, 0 if method == "base" else seed)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "tables/episodes.jsonl").write_text(text, encoding="utf-8")

    def episodes(self, environment: str, method: str, seed: int) -> list[dict[str, Any]]:
        """An arm's chance of winning is CHANCE; a game is as hard for every arm and seed."""
        rows = []
        for panel, games in self.panels[environment].items():
            hardness = np.random.default_rng(len(panel)).normal(0, 0.15, games)
            draws = np.random.default_rng([sum(map(ord, method)), seed, len(panel)]).random(games)
            types = TYPES[environment]
            for index in range(games):
                won = bool(draws[index] < CHANCE.get(method, 0.5) + hardness[index] * (method != "base"))
                reward = 1.0 if won else round(float(draws[index]) / 2, 3) if method != "base" else 0.0
                rows.append(
                    {
                        "panel": panel,
                        "id": f"{panel}/{index}",
                        "task_type": types[index % len(types)],
                        "won": won,
                        "reward": reward,
                    }
                )
        return rows
