"""Under which circumstances two results were measured, and in what these differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from harness.report import Measured

Named = Iterable[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Fact:
    """A circumstance that differs; "absent" where a side does not have it."""

    name: str
    before: str
    after: str


def packages(before: Iterable[Measured], after: Iterable[Measured]) -> list[Fact]:
    """Versions of packages that differ."""
    return _differing(*(_newest(side, lambda source: source.info.packages.items()) for side in (before, after)))


def others(before: Iterable[Measured], after: Iterable[Measured]) -> list[Fact]:
    """What else differs: device, interpreter, model, harness."""
    return _differing(*(_newest(side, _facts) for side in (before, after)))


def _facts(source: Measured) -> Named:
    info = source.info
    return [
        ("device", info.device),
        ("driver", info.driver),
        ("python", info.python),
        ("platform", info.platform),
        ("model", f"{info.model} ({info.model_hash or 'no hash'})"),
        ("measured by", source.harness),
        ("unavailable", info.unavailable),
    ]


def _newest(side: Iterable[Measured], facts: Callable[[Measured], Named]) -> dict[str, str]:
    """Facts by column and name, of the newest run where there are several."""
    found: dict[str, str] = {}
    for source in side:  # newest first
        for name, value in facts(source):
            found.setdefault(f"{source.backend}: {name}", value or "absent")
    return found


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[Fact]:
    names = dict.fromkeys([*before, *after])
    return [
        Fact(name, before.get(name, "absent"), after.get(name, "absent"))
        for name in names
        if before.get(name, "absent") != after.get(name, "absent")
    ]
