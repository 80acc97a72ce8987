"""From the windows of a cell to its record: figures with their intervals, against the control, or why not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from harness.energy import estimates
from harness.energy.meters import Missing, Source
from harness.energy.quality import Flag, Note, Quality, worst
from harness.energy.quantities import QUANTITIES, Quantity, Repeat, Value
from harness.energy.readings import Reading
from harness.energy.record import FIGURES, Device, EnergyRecord, Figure, RecordNote, Versus

TOO_SHORT = "a functional cell's window is too short for a claim per token"
_NO_SPREAD = "one window has no spread"
_CPU = "a CPU has none"


def summarise(
    repeats: Sequence[Repeat],
    control: Sequence[Repeat] | Missing,
    sources: Sequence[Source] = (),
    *,
    mode: Literal["functional", "measuring"] = "measuring",
) -> EnergyRecord:
    """The record of a cell.

    Args:
        repeats: the treated run's windows, one a round.
        control: its control's, in the same rounds, or why there is none.
        sources: what was metered.
        mode: of a functional cell nothing is claimed per token.

    Raises:
        ValueError: there are no repeats.
    """
    if not repeats:
        raise ValueError("expected at least one window")
    figures: dict[str, Figure] = {}
    missing: dict[str, list[str]] = {}
    for name, quantity in QUANTITIES.items():
        figure = Missing(TOO_SHORT) if quantity.claim and mode == "functional" else _figure(quantity, repeats)
        if isinstance(figure, Missing):
            missing.setdefault(figure.reason, []).append(name)
            continue
        if quantity.fold is None and mode == "measuring":
            versus = _versus(quantity, repeats, control)
            if isinstance(versus, Missing):
                missing.setdefault(versus.reason, []).append(f"{name}.versus_control")
            else:
                figure = figure.model_copy(update={"versus_control": versus})
        figures[name] = figure
    if len(repeats) == 1:
        missing[_NO_SPREAD] = ["sd", "ci95"]
    for source in sources:
        absent = [field for field in ("driver", "mig_mode") if getattr(source, field) is None]
        missing.setdefault(_CPU, []).extend(absent)
    notes = _notes(repeats, control)
    quality = worst(note.flag.quality for note in notes)
    return EnergyRecord(
        mode=mode,
        quality=Quality.UNAVAILABLE if "gross_j" not in figures else quality,
        # what is the reason of missing figures need not be said twice
        notes=[RecordNote(flag=note.flag, text=note.text) for note in notes if note.text not in missing],
        devices=[_device(source) for source in sources],
        missing={reason: names for reason, names in missing.items() if names},
        **figures,
    )


def nothing(reason: str, *, mode: Literal["functional", "measuring"]) -> EnergyRecord:
    """The record of a cell of which nothing is known."""
    return EnergyRecord(mode=mode, quality=Quality.UNAVAILABLE, missing={reason: list(FIGURES)})


def _figure(quantity: Quantity, repeats: Sequence[Repeat]) -> Figure | Missing:
    values = _values(quantity, repeats)
    if isinstance(values, Missing):
        return values
    meters = " and ".join(dict.fromkeys(repeat.reading.method for repeat in repeats))
    method = quantity.method.format(meter=meters)
    plain = [value.value for value in values]
    if quantity.fold is not None:
        return Figure(value=quantity.fold(plain), unit=quantity.unit, method=method)
    estimate = estimates.of_mean(plain)
    unsure = [value.uncertainty for value in values if value.uncertainty is not None]
    return Figure(
        value=estimate.value,
        unit=quantity.unit,
        method=method,
        # what is left open at the edges of windows errs the same way in each: it does not average out
        uncertainty=sum(unsure) / len(unsure) if len(unsure) == len(values) else None,
        repeats=estimate.repeats,
        sd=None if isinstance(estimate.sd, Missing) else estimate.sd,
        ci95=_ends(estimate.interval),
    )


def _versus(quantity: Quantity, repeats: Sequence[Repeat], control: Sequence[Repeat] | Missing) -> Versus | Missing:
    if isinstance(control, Missing):
        return control
    if len(control) != len(repeats):
        return Missing(f"{len(control)} windows of the control, expected {len(repeats)}: one in each round")
    treated, against = _values(quantity, repeats), _values(quantity, control)
    if isinstance(treated, Missing):
        return treated
    if isinstance(against, Missing):
        return Missing(f"control: {against.reason}")
    rounds = [(_rounded(a.value), _rounded(b.value)) for a, b in zip(treated, against, strict=True)]
    found = estimates.of_difference(rounds)
    if isinstance(found, Missing):
        return found
    return Versus(value=found.value, ci95=_ends(found.interval), rounds=rounds)


def _rounded(value: float) -> float:
    """To six digits: a difference of less than a millionth is none."""
    return float(f"{value:.6g}")


def _values(quantity: Quantity, repeats: Iterable[Repeat]) -> list[Value] | Missing:
    found: list[Value] = []
    for repeat in repeats:
        told = quantity.of(repeat)
        if isinstance(told, Missing):
            return told
        found.append(told)
    return found


def _ends(interval: estimates.Interval | Missing) -> tuple[float, float] | None:
    return None if isinstance(interval, Missing) else (interval.low, interval.high)


def _notes(repeats: Sequence[Repeat], control: Sequence[Repeat] | Missing) -> list[Note]:
    """What speaks against the figures: of the windows, of idling, and of the control that they are compared with."""
    against = () if isinstance(control, Missing) else control
    idle = _once(repeat.idle for repeat in repeats)
    idle_too = _once(repeat.idle for repeat in against)
    return [
        *_gathered("", [repeat.reading for repeat in repeats]),
        *_gathered("idle: ", [reading for reading in idle if not isinstance(reading.energy_j, Missing)]),
        *_gathered("control: ", [r.reading for r in against if not isinstance(r.reading.energy_j, Missing)]),
        *_gathered("control, idle: ", [r for r in idle_too if not isinstance(r.energy_j, Missing)]),
    ]


def _once(readings: Iterable[Reading]) -> list[Reading]:
    """Each reading once: one idle window may serve several repeats."""
    return list({id(reading): reading for reading in readings}.values())


def _gathered(prefix: str, readings: Sequence[Reading]) -> list[Note]:
    """One note a flag, with the number of windows it is of where these are not all."""
    texts: dict[Flag, list[str]] = {}
    for reading in readings:
        for note in reading.notes:
            texts.setdefault(note.flag, []).append(note.text)
    return [
        Note(
            flag,
            f"{prefix}{f'{len(found)} of {len(readings)} windows: ' if len(found) < len(readings) else ''}{found[0]}",
        )
        for flag, found in texts.items()
    ]


def _device(source: Source) -> Device:
    return Device(
        kind=source.kind,
        uuid=source.id if source.kind == "nvml" else None,
        name=source.name,
        scope=source.scope,
        driver=source.driver,
        mig_mode=source.mig_mode,
    )
