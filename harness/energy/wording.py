"""Figures as people say them. Pure."""

from __future__ import annotations


def percent(difference: float) -> str:
    """A relative difference: "+12.3%", with as many digits as say something."""
    shown = 100 * difference
    digits = 0 if abs(shown) >= 100 else 1 if abs(shown) >= 1 else 2
    text = f"{shown:+.{digits}f}"
    return f"{'±0' if float(text) == 0 else text.replace('-', '−')}%"


def amount(value: float, unit: str) -> str:
    """A value with its unit, as people say it."""
    if unit == "B":
        return f"{value / 2**30:.4g} GiB" if value >= 2**30 else f"{value / 2**20:.4g} MiB"
    if unit == "s" and 0 < value < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:,.0f} {unit}" if value >= 1e4 else f"{value:.4g} {unit}"
