"""Budgets: what a cell or a config may cost at most, or must reach at least."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.config import settings, yaml_text
from harness.config.files import load_config
from harness.declare import Matrix
from harness.energy.quality import Quality
from harness.energy.quantities import QUANTITIES
from harness.energy.record import EnergyRecord, Figure
from harness.plan import Cell, config_cell

_BOUNDS: Final = ("min", "max")
_CONFIGS: Final = (".yaml", ".yml")


class BudgetError(ValueError):
    """A budget that says nothing; one line with the mend."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Where one figure must lie."""

    figure: str
    low: float | None
    high: float | None

    def broken(self, energy: EnergyRecord) -> str | None:
        """How far a figure lies outside, or why that cannot be told; None if it lies within."""
        found: Figure | None = getattr(energy, self.figure)
        if found is None:
            return f"{self.figure} is not known: {energy.why_missing(self.figure)}"
        if energy.quality is Quality.CONTAMINATED and "{meter}" in QUANTITIES[self.figure].method:
            return f"{self.figure} is not to be believed: {'; '.join(note.text for note in energy.notes)}"
        for bound, word, outside in ((self.low, "least", self._under), (self.high, "most", self._over)):
            if bound is not None and outside(found.value):
                by = f", {abs(found.value / bound - 1):.1%} off" if bound else ""
                return f"{self.figure} is {_told(found)}, expected at {word} {bound:g}{by}"
        return None

    def _under(self, value: float) -> bool:
        return self.low is not None and value < self.low

    def _over(self, value: float) -> bool:
        return self.high is not None and value > self.high


def _told(figure: Figure) -> str:
    details = []
    if figure.ci95 is not None:
        details.append(f"95% {figure.ci95[0]:.4g} to {figure.ci95[1]:.4g}")
    if figure.repeats is not None:
        details.append(f"{figure.repeats} window{'s' * (figure.repeats != 1)}")
    return f"{figure.value:.4g} {figure.unit}" + (f" ({', '.join(details)})" if details else "")


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a budget file, by cell."""

    limits: Mapping[str, Sequence[Limit]]
    configs: Sequence[Cell] = ()
    """Configs that the file names, as cells without a control."""

    def broken(self, cell: str, energy: EnergyRecord) -> list[str]:
        """What a cell breaks of its limits."""
        return [said for limit in self.limits.get(cell, ()) if (said := limit.broken(energy))]


def read(path: Path, matrix: Matrix) -> Budget:
    """Read a budget: cell ids, or paths of config files as seen from it, to limits of figures.

    Raises:
        BudgetError: it cannot be read, or names what does not exist.
    """
    try:
        content = yaml_text.parse(path.read_text(encoding="utf-8")).data
    except (OSError, UnicodeDecodeError) as error:
        raise BudgetError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml_text.NotYaml as error:
        wrong = error.problem
        where = f"{path}, line {wrong.line}" if wrong.line else str(path)
        raise BudgetError(f"{where}: {wrong.what}: {wrong.actual}, expected {wrong.expected}: {wrong.fix}") from None
    if not isinstance(content, dict) or not content:
        raise BudgetError(
            f"{path}: expected cell ids or config files with limits, like "
            "`pytorch-batching.batch_size=8: {tokens_per_s: {min: 100}}`, got "
            + ("nothing" if not content else f"a {type(content).__name__}")
        )
    limits: dict[str, list[Limit]] = {}
    configs: list[Cell] = []
    for name, stated in content.items():
        key = str(name)
        found = [_limit(path, key, figure, bounds) for figure, bounds in _mapping(path, key, stated).items()]
        if key.endswith(_CONFIGS):
            configs.append(_config(path, key, matrix))
            key = configs[-1].id
        if key in limits:
            raise BudgetError(f"{path}: {key} stands there twice, expected once")
        limits[key] = found
    return Budget(limits, configs)


def _mapping(path: Path, key: str, stated: Any) -> Mapping[str, Any]:
    if not isinstance(stated, dict) or not stated:
        raise BudgetError(f"{path}: {key}: expected limits, like {{tokens_per_s: {{min: 100}}}}, got {stated!r}")
    return stated


def _limit(path: Path, key: str, figure: Any, bounds: Any) -> Limit:
    if figure not in QUANTITIES:
        raise BudgetError(f"{path}: {key}: no figure is called {figure!r}: expected some of {', '.join(QUANTITIES)}")
    stated = bounds if isinstance(bounds, dict) else {}
    numbers = all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        for value in stated.values()
    )
    if not stated or not set(stated) <= set(_BOUNDS) or not numbers:
        raise BudgetError(f"{path}: {key}: {figure}: expected {{min: number}}, {{max: number}} or both, got {bounds!r}")
    low, high = stated.get("min"), stated.get("max")
    if low is not None and high is not None and low > high:
        raise BudgetError(f"{path}: {key}: {figure}: min {low:g} is above max {high:g}: nothing lies within")
    return Limit(figure, low, high)


def _config(path: Path, name: str, matrix: Matrix) -> Cell:
    file = path.parent / name
    try:
        config = load_config(file)
        beside = (path.parent / config.model).resolve()
        model = str(beside) if beside.is_dir() else config.model
        return config_cell(matrix, name, dict(settings(config)), backend=config.backend, model=model)
    except ValueError as error:
        raise BudgetError(f"{path}: {name}: {' '.join(str(error).split())}") from None
