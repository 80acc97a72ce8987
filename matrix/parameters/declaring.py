"""Short forms for parameters that one backend alone has."""

from __future__ import annotations

from dataclasses import dataclass

from harness.declare import Bound, Column, OutputRule, Parameter, Probe, Scope, Value, Variant, Workload
from harness.jsontypes import JSON

LOSSLESS, FREE = OutputRule.LOSSLESS, OutputRule.FREE


@dataclass(frozen=True, slots=True)
class Own:
    """A backend's own parameters."""

    backend: str
    section: str
    needs: tuple[str, ...] = ()
    """What every cell of it needs, where nothing else is said."""

    def engine(
        self,
        name: str,
        probe: Probe,
        *values: Value,
        output: OutputRule | Bound = LOSSLESS,
        companions: dict[str, JSON] | None = None,
        workload: Workload | None = None,
        variant: Variant | None = None,
        needs: tuple[str, ...] | None = None,
        note: str = "",
    ) -> Parameter:
        """A parameter that takes effect when the engine is loaded."""
        column = Column(
            Scope.ENGINE,
            probe,
            output,
            companions=companions or {},
            workload=workload,
            variant=variant,
            needs=self.needs if needs is None else needs,
        )
        return self._parameter(name, column, values, note)

    def request(
        self,
        name: str,
        probe: Probe,
        *values: Value,
        output: OutputRule | Bound = FREE,
        companions: dict[str, JSON] | None = None,
        workload: Workload | None = None,
        variant: Variant | None = None,
        note: str = "",
    ) -> Parameter:
        """A parameter that every request can set anew."""
        column = Column(
            Scope.REQUEST,
            probe,
            output,
            companions=companions or {},
            workload=workload,
            variant=variant,
            needs=self.needs,
        )
        return self._parameter(name, column, values, note)

    def _parameter(self, name: str, column: Column, values: tuple[Value, ...], note: str) -> Parameter:
        path = f"{self.backend}.{name}"
        return Parameter(path, section=self.section, values=values, columns={self.backend: column}, note=note)


def on_off(contrast_on: bool = True) -> tuple[Value, Value]:
    """False and True, each against the other (or True against upstream's own default)."""
    return Value(False, contrast=True), Value(True, contrast=False) if contrast_on else Value(True)
