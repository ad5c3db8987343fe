"""Energy of a run, by codecarbon, without network and without making short runs longer.

codecarbon's first start takes one to two seconds (it looks for power meters and loads a table of processors), so it
begins after START_AFTER_S in a thread of its own, and what it measures is scaled to the run's whole time. A run
shorter than that has no energy figure, and says why.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

START_AFTER_S = 5.0
MEASURE_EVERY_S = 15
# codecarbon wants a country even where only energy is asked for; without one from the user, no emissions are reported.
_ANY_COUNTRY = "USA"


class EnergyMeter:
    """Measures the energy of this machine (processor, memory, GPUs) from `start()` to `stop()`.

    Args:
        country: ISO 3166 alpha-3 code whose grid decides `emissions_kg`; None: energy only.
    """

    def __init__(self, country: str | None = None, start_after_s: float = START_AFTER_S) -> None:
        self._country = country
        self._start_after_s = start_after_s
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._tracker: Any = None
        self._began_at_s = 0.0
        self._kwh = 0.0
        self._emissions_kg = 0.0
        self._measured_s = 0.0
        self._method: str | None = None
        self._reason: str | None = f"shorter than {start_after_s:g} s"
        self._thread = threading.Thread(target=self._begin_later, name="encore-energy", daemon=True)

    def start(self) -> None:
        """Returns at once; the measurement begins `start_after_s` later."""
        self._thread.start()

    def read(self) -> dict[str, Any]:
        """`{measured_s, measured_kwh, emissions_kg, method, reason}` so far; an unmeasured kWh is None."""
        if self._lock.acquire(blocking=False):  # taken while codecarbon starts: the next reading has it all
            try:
                if self._tracker is not None:
                    self._collect()
                    self._open()
            finally:
                self._lock.release()
        return self._reading()

    def stop(self) -> dict[str, Any]:
        """Ends the measurement and returns the last reading."""
        self._stopped.set()
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
                self._tracker = None
            finally:
                self._lock.release()
        return self._reading()

    def _reading(self) -> dict[str, Any]:
        measured = self._measured_s > 0
        return {
            "measured_s": round(self._measured_s, 3),
            "measured_kwh": self._kwh if measured else None,
            "emissions_kg": self._emissions_kg if measured and self._country else None,
            "method": self._method if measured else None,
            "reason": None if measured else self._reason,
        }

    def _begin_later(self) -> None:
        if self._stopped.wait(self._start_after_s):
            return
        with self._lock:
            self._open()
            if self._stopped.is_set():
                self._collect()
                self._tracker = None

    def _open(self) -> None:
        """A fresh tracker: only a stopped one tells its energy through codecarbon's public interface."""
        try:
            from codecarbon import OfflineEmissionsTracker

            # Its import sets the level to INFO, and it writes two lines before it reads `log_level`.
            logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
            tracker = OfflineEmissionsTracker(
                country_iso_code=self._country or _ANY_COUNTRY,
                measure_power_secs=MEASURE_EVERY_S,
                output_methods=[],
                log_level="critical",
                allow_multiple_runs=True,
            )
            tracker.start()
        except Exception as error:  # a measurement must not end the run that it measures: the reason goes into run.yaml
            self._tracker = None
            self._reason = f"codecarbon: {type(error).__name__}: {error}".splitlines()[0]
            return
        self._tracker = tracker
        self._began_at_s = time.monotonic()

    def _collect(self) -> None:
        if self._tracker is None:
            return
        duration_s = time.monotonic() - self._began_at_s
        try:
            self._tracker.stop()
            data = self._tracker.final_emissions_data
        except Exception as error:  # as in _open
            self._tracker = None
            self._reason = f"codecarbon: {type(error).__name__}: {error}".splitlines()[0]
            return
        self._kwh += float(data.energy_consumed)
        self._emissions_kg += float(data.emissions)
        self._measured_s += duration_s
        self._method = f"codecarbon {data.codecarbon_version}, {data.tracking_mode}"
