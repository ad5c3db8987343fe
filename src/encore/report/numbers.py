"""How numbers are written in every report: percent with one decimal, times in words, a dash for what is not known."""

from __future__ import annotations

import math

from encore.report.comparison import ReportedValue

DASH = "—"
MINUS = "−"


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.4531 -> "45.3", without a sign; a lack or NaN is a dash."""
    if fraction is None or not math.isfinite(fraction):
        return DASH
    return _signed(100 * fraction, digits)


def points(fraction: float | None, digits: int = 1) -> str:
    """A difference of fractions in percentage points with its sign: 0.1016 -> "+10.2"."""
    if fraction is None or not math.isfinite(fraction):
        return DASH
    text = _signed(100 * fraction, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def span(low: float | None, high: float | None) -> str:
    """An interval of fractions in percent, "38.2 to 52.0"; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{percent(low)} to {percent(high)}"


def difference_span(low: float | None, high: float | None) -> str:
    """An interval of differences in points, "+1.0 to +9.3"; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{points(low)} to {points(high)}"


def duration(wall_s: float | None) -> str:
    """Seconds as a person says them: 0.42 s, 42 s, 3 min 05 s, 2 h 10 min."""
    if wall_s is None or not math.isfinite(wall_s):
        return DASH
    if wall_s < 10:
        return f"{wall_s:.2g} s"
    whole = round(wall_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def quantity(value: float | None, unit: str = "") -> str:
    """A large or small number with three digits and an SI prefix: 1234567 -> "1.23 M"."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return f"0 {unit}".strip()
    size = float(f"{abs(value):.3g}")  # 999.6 is 1 k, not 1e+03
    for factor, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    if size >= 1:
        return f"{value:.3g} {unit}".strip()
    for factor, prefix in ((1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if unit and size >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.2g} {unit}".strip()


def energy(kwh: float | None) -> str:
    """Kilowatt hours as Wh, kWh: 0.0123 -> "12.3 Wh"."""
    return quantity(None if kwh is None else 1000 * kwh, "Wh")


def ratio(value: float | None, reference: float | None) -> str:
    """value / reference as "1.52×"; a dash where either is unknown or the reference is zero."""
    if value is None or not reference or not math.isfinite(value) or not math.isfinite(reference):
        return DASH
    return f"{value / reference:.2f}×"


def probability(p: float | None) -> str:
    """A p-value: three decimals, "<0.001" below them."""
    if p is None or not math.isfinite(p):
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def decimal(value: float | None, digits: int = 2) -> str:
    """A plain number such as a correlation, with its sign if negative."""
    if value is None or not math.isfinite(value):
        return DASH
    return _signed(value, digits)


def reported(value: ReportedValue | None) -> str:
    """A reported value as the paper prints it; durations as `duration`."""
    if value is None or not math.isfinite(value.value):
        return DASH
    if value.unit == "seconds":
        return duration(value.value)
    return f"{value.value:.2f}" + ("×" if value.unit == "ratio" else "")


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    if float(text) == 0:  # no "-0.0"
        text = text.lstrip("-")
    return text.replace("-", MINUS)
