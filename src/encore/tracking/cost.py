"""What a run costs: time by phase, tokens, environment steps, FLOPs, energy, memory, money."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from encore.tracking.energy import EnergyMeter

COUNTERS = ("tokens_trained", "tokens_generated", "environment_steps", "flops")


class CostMeter:
    """Counts from its making on, and goes on from the totals of an earlier session of the same run.

    Args:
        previous: `totals()` of the last durable point of the run, if it resumes.
        devices: accelerators in use; None: the visible GPUs once Torch has used one, else 1 (the machine).
        price_per_device_hour: in any currency; None: no price.
        country: for codecarbon's emissions, ISO 3166 alpha-3; None: energy only.
    """

    def __init__(
        self,
        previous: Mapping[str, Any] | None = None,
        devices: int | None = None,
        price_per_device_hour: float | None = None,
        country: str | None = None,
    ) -> None:
        self._previous: Mapping[str, Any] = previous or {}
        self._devices = devices
        self._rate = price_per_device_hour
        self._counters = {name: self._previous.get(name, 0) for name in COUNTERS}
        self._phases_s = {name: phase["wall_s"] for name, phase in self._previous.get("phases", {}).items()}
        self._phases_s.pop("other", None)
        self._phase: str | None = None
        self._phase_began_s = 0.0
        self._began_s = time.monotonic()
        self._energy = EnergyMeter(country)
        self._energy.start()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts the time inside under `name`. Phases follow each other: one inside another is an error."""
        if self._phase is not None:
            raise RuntimeError(
                f"phase {name!r} begins inside phase {self._phase!r}: phases do not nest, end the first one"
            )
        if name == "other":
            raise ValueError("the phase 'other' is what is left outside all phases: choose another name")
        self._phase, self._phase_began_s = name, time.monotonic()
        try:
            yield
        finally:
            self._phases_s[name] = self._phases_s.get(name, 0.0) + time.monotonic() - self._phase_began_s
            self._phase = None

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Counts the time inside under `name` and not under the phase that goes on around it."""
        outer, began_s = self._phase, time.monotonic()
        if outer is not None:
            self._phases_s[outer] = self._phases_s.get(outer, 0.0) + began_s - self._phase_began_s
        try:
            yield
        finally:
            self._phase_began_s = time.monotonic()
            self._phases_s[name] = self._phases_s.get(name, 0.0) + self._phase_began_s - began_s

    def count(self, **amounts: float) -> None:
        """Adds to the counters named in COUNTERS."""
        for name, amount in amounts.items():
            if name not in self._counters:
                raise TypeError(f"count() knows {', '.join(COUNTERS)}; {name!r} is none of them")
            self._counters[name] += int(amount)

    def totals(self, final: bool = False) -> dict[str, Any]:
        """The costs so far, this session and the earlier ones together; `final` ends the energy measurement.

        Returns:
            wall_s, device_h, phases (name -> wall_s, device_h; they sum to the total, "other" is the rest), the
            counters, energy_kwh (None with a reason in `energy`), peak_memory_mb, peak_gpu_memory_mb (None without
            GPU), price.
        """
        now_s = time.monotonic()
        devices = self.devices
        wall_s = self._previous.get("wall_s", 0.0) + now_s - self._began_s
        phases_s = dict(self._phases_s)
        if self._phase is not None:
            phases_s[self._phase] = phases_s.get(self._phase, 0.0) + now_s - self._phase_began_s
        phases_s["other"] = max(0.0, wall_s - sum(phases_s.values()))
        # A run may resume on another number of devices: the earlier hours stay as they were counted.
        earlier = self._previous.get("phases", {})
        phases = {}
        for name, seconds in phases_s.items():
            before = earlier.get(name, {"wall_s": 0.0, "device_h": 0.0})
            hours = before["device_h"] + (seconds - before["wall_s"]) * devices / 3600
            phases[name] = {"wall_s": round(seconds, 4), "device_h": round(hours, 9)}
        device_h = sum(phase["device_h"] for phase in phases.values())
        energy = self._energy_totals(self._energy.stop() if final else self._energy.read(), now_s - self._began_s)
        return {
            "wall_s": round(wall_s, 4),
            "device_h": round(device_h, 9),
            "devices": devices,
            "phases": phases,
            **self._counters,
            "energy_kwh": energy["kwh"],
            "energy": energy,
            **self._memory(),
            "price": None if self._rate is None else round(device_h * self._rate, 6),
        }

    def stop(self) -> None:
        """Ends the energy measurement of a run that failed."""
        self._energy.stop()

    @property
    def devices(self) -> int:
        """Accelerators that this run occupies, at least 1."""
        if self._devices is not None:
            return self._devices
        torch = sys.modules.get("torch")
        return max(1, torch.cuda.device_count()) if torch is not None and torch.cuda.is_initialized() else 1

    def _energy_totals(self, reading: dict[str, Any], session_s: float) -> dict[str, Any]:
        before = self._previous.get("energy", {})
        kwh, emissions_kg = reading.pop("measured_kwh"), reading.pop("emissions_kg")
        if kwh is not None:  # the seconds before the meter was ready drew about as much as those after
            scale = session_s / reading["measured_s"]
            kwh = kwh * scale + (before.get("kwh") or 0.0)
            emissions_kg = None if emissions_kg is None else emissions_kg * scale + (before.get("emissions_kg") or 0.0)
        elif before.get("kwh") is not None:
            return {**before, "reason": f"without the last session: {reading['reason']}"}
        measured_s = reading["measured_s"] + before.get("measured_s", 0.0)
        return {"kwh": kwh, "emissions_kg": emissions_kg, **reading, "measured_s": measured_s}

    def _memory(self) -> dict[str, float | None]:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
        usages = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        peak_mb = round(max(usages) * unit / 2**20, 1)
        torch = sys.modules.get("torch")
        gpu_mb: float | None = self._previous.get("peak_gpu_memory_mb")
        if torch is not None and torch.cuda.is_initialized():
            now_mb = sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())) / 2**20
            gpu_mb = round(max(now_mb, gpu_mb or 0.0), 1)
        return {
            "peak_memory_mb": max(peak_mb, self._previous.get("peak_memory_mb", 0.0)),
            "peak_gpu_memory_mb": gpu_mb,
        }
