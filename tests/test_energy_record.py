"""From windows to the record of a cell: the arithmetic, and a reason for each figure that is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.energy.meters import Known, Missing, Source
from harness.energy.quality import Flag, Note, Quality
from harness.energy.quantities import QUANTITIES, Repeat, Work
from harness.energy.readings import Reading, unavailable
from harness.energy.record import FIGURES, EnergyRecord, Figure
from harness.energy.summary import TOO_SHORT, summarise
from harness.energy.windows import Window

GPU = Source("nvml", "GPU-1", "Simulated GPU", "GPU board", driver="580.00", mig_mode="disabled")
CPU = Source("rapl", "packages", "package-0", "CPU packages", no_power="none", no_state="none")
NO_CONTROL = Missing("this is the control")
NO_METER = "no RAPL counters"


def reading(energy_j: Known, seconds: float = 10.0, notes: Sequence[Note] = (), unsure: float = 2.0) -> Reading:
    return Reading(
        window=Window(100.0, 100.0 + seconds),
        energy_j=energy_j,
        uncertainty_j=energy_j if isinstance(energy_j, Missing) else unsure,
        method="counter",
        discrepancy=-0.01,
        check="instant power",
        period_s=0.1,
        samples=200,
        bad_samples=1,
        temperature_c=60.0,
        sm_mhz=1980.0,
        memory_mhz=3201.0,
        power_limit_w=700.0,
        throttle=4.0,
        notes=tuple(notes),
    )


IDLE = reading(800.0)


def work(output: int = 500, total: int = 700) -> Work:
    return Work(
        output_tokens=output,
        total_tokens=total,
        ttft_s=tuple(0.1 + i / 1000 for i in range(20)),
        inter_token_s=tuple(0.01 + i / 1e5 for i in range(100)),
        peak_device_bytes=3 << 30,
        peak_host_bytes=1 << 30,
    )


def repeat(energy_j: Known = 3000.0, *, idle: Reading = IDLE, done: Work | None = None, **more: Any) -> Repeat:
    return Repeat(reading(energy_j, **more), done or work(), idle)


def figure(record: EnergyRecord, name: str) -> Figure:
    found = getattr(record, name)
    assert isinstance(found, Figure), record.why_missing(name)
    return found


THREE = [repeat(3000.0), repeat(3030.0), repeat(2970.0)]
CONTROL = [repeat(2000.0), repeat(2020.0), repeat(1980.0)]


def test_a_worked_example() -> None:
    record = summarise(THREE, CONTROL, [GPU])
    assert record.quality is Quality.MEASURED
    assert not record.missing
    gross = figure(record, "gross_j")
    assert (gross.value, gross.sd, gross.repeats, gross.unit, gross.method) == (3000, 30, 3, "J", "counter")
    assert gross.ci95 == pytest.approx((3000 - 4.3027 * 30 / 3**0.5, 3000 + 4.3027 * 30 / 3**0.5), rel=1e-4)
    assert gross.uncertainty == 2.0
    net = figure(record, "net_j")
    assert net.value == 2200
    assert net.uncertainty == 4.0
    assert figure(record, "j_per_output_token").value == 6
    assert figure(record, "j_per_total_token").value == pytest.approx(3000 / 700)
    assert figure(record, "net_j_per_output_token").value == pytest.approx(4.4)
    assert figure(record, "tokens_per_s").value == 50
    assert figure(record, "output_tokens").value == 1500
    assert figure(record, "duration_s").value == 30
    assert figure(record, "idle_w").value == 80
    assert figure(record, "throttle_bits").value == 4
    assert figure(record, "ttft_p50_s").value == pytest.approx(0.1095)
    versus = figure(record, "j_per_output_token").versus_control
    assert versus is not None
    assert versus.value == pytest.approx(0.5)
    assert versus.rounds == [(6.0, 4.0), (6.06, 4.04), (5.94, 3.96)]
    assert versus.differs
    assert versus.interval(0.95) == versus.ci95
    same = figure(record, "tokens_per_s").versus_control
    assert same is not None
    assert not same.differs


def test_a_claim_about_one_of_many_rows_has_a_wider_interval_and_one_round_has_none() -> None:
    versus = figure(
        summarise([repeat(3000.0), repeat(3100.0), repeat(2900.0)], CONTROL, [GPU]), "gross_j"
    ).versus_control
    assert versus is not None
    assert versus.ci95 is not None
    wide = versus.interval(1 - 0.05 / 100)
    assert wide is not None
    assert wide[0] < versus.ci95[0] < versus.value < versus.ci95[1] < wide[1]
    once = figure(summarise([repeat(3000.0)], [repeat(2000.0)], [GPU]), "gross_j").versus_control
    assert once is not None
    assert once.value == pytest.approx(0.5)
    assert (once.ci95, once.interval(0.99)) == (None, None)


def test_the_record_has_every_quantity_and_no_other() -> None:
    assert set(FIGURES) == set(QUANTITIES)


def test_a_record_survives_json_and_says_nothing_that_does_not_apply() -> None:
    record = summarise(THREE, CONTROL, [GPU])
    text = json.dumps(record.model_dump(mode="json"), allow_nan=False)
    assert EnergyRecord.model_validate_json(text) == record
    assert set(record.model_dump(mode="json")["output_tokens"]) == {"value", "unit", "method"}


@settings(deadline=None)
@given(
    gross=st.lists(st.floats(1.0, 1e5), min_size=1, max_size=5),
    idle_w=st.floats(0.1, 500.0),
    seconds=st.floats(0.5, 100.0),
    tokens=st.integers(1, 10**6),
)
def test_net_and_per_token_are_what_they_are_called(
    gross: list[float], idle_w: float, seconds: float, tokens: int
) -> None:
    idle = reading(idle_w * 10)
    repeats = [repeat(joules, idle=idle, done=work(tokens, 2 * tokens), seconds=seconds) for joules in gross]
    record = summarise(repeats, NO_CONTROL, [GPU])
    mean = sum(gross) / len(gross)
    assert figure(record, "gross_j").value == pytest.approx(mean)
    assert figure(record, "net_j").value == pytest.approx(mean - idle_w * seconds, abs=1e-6 * (mean + idle_w * seconds))
    assert figure(record, "j_per_output_token").value == pytest.approx(mean / tokens)
    assert figure(record, "j_per_total_token").value == pytest.approx(mean / tokens / 2)
    assert figure(record, "tokens_per_s").value == pytest.approx(tokens / seconds)
    assert figure(record, "output_tokens").value == tokens * len(gross)


@settings(deadline=None)
@given(st.lists(st.floats(100.0, 1e4), min_size=2, max_size=5), st.floats(0.5, 2.0))
def test_the_difference_to_the_control_does_not_depend_on_how_long_the_windows_were(
    control: list[float], ratio: float
) -> None:
    treated = [repeat(ratio * joules * 2, done=work(1000, 1400), seconds=20.0) for joules in control]
    record = summarise(treated, [repeat(joules) for joules in control], [GPU])
    versus = figure(record, "j_per_output_token").versus_control
    assert versus is not None
    assert versus.value == pytest.approx(ratio - 1, abs=2e-5)


def test_without_a_meter_throughput_and_memory_are_told_and_joules_are_missing_with_the_reason() -> None:
    gone = unavailable(NO_METER, Window(100.0, 110.0))
    record = summarise([Repeat(gone, work(), gone)] * 3, [Repeat(gone, work(250), gone)] * 3)
    assert record.quality is Quality.UNAVAILABLE
    assert record.gross_j is None
    assert record.why_missing("gross_j") == NO_METER
    assert record.why_missing("j_per_output_token") == NO_METER
    assert record.why_missing("throttle_bits") == NO_METER
    assert figure(record, "tokens_per_s").value == 50
    versus = figure(record, "tokens_per_s").versus_control
    assert versus is not None
    assert versus.value == pytest.approx(1.0)
    assert figure(record, "peak_host_bytes").value == 1 << 30


def test_a_functional_cell_claims_nothing_per_token() -> None:
    short = Note(Flag.SHORT_WINDOW, "0.8 s, expected at least 10 s")
    record = summarise([repeat(240.0, seconds=0.8, notes=[short])], NO_CONTROL, [GPU], mode="functional")
    assert record.quality is Quality.INDICATIVE
    assert record.why_missing("j_per_output_token") == TOO_SHORT
    assert record.why_missing("net_j_per_total_token") == TOO_SHORT
    gross = figure(record, "gross_j")
    assert (gross.value, gross.sd, gross.ci95, gross.versus_control) == (240.0, None, None, None)
    assert record.why_missing("ci95") == "one window has no spread"


def test_one_window_without_energy_leaves_the_mean_unknown() -> None:
    lost = repeat(Missing("the device was lost"), notes=[Note(Flag.UNAVAILABLE, "the device was lost")])
    record = summarise([repeat(), lost, repeat()], CONTROL, [GPU])
    assert record.gross_j is None
    assert record.why_missing("gross_j") == "the device was lost"
    assert record.quality is Quality.UNAVAILABLE
    assert record.notes[0].text.startswith("1 of 3 windows")


def test_without_an_idle_baseline_only_net_is_missing() -> None:
    record = summarise([repeat(idle=unavailable("it was not asked for"))], NO_CONTROL, [GPU])
    assert record.why_missing("net_j") == "no idle baseline: it was not asked for"
    assert record.why_missing("idle_w") == "it was not asked for"
    assert figure(record, "gross_j").value == 3000
    assert record.quality is Quality.MEASURED


def test_what_speaks_against_idling_or_the_control_speaks_against_the_cell() -> None:
    hot = Note(Flag.THROTTLED, "clocks were held down")
    record = summarise([repeat(idle=reading(800.0, notes=[hot]))], NO_CONTROL, [GPU])
    assert (record.quality, record.notes[0].text) == (Quality.CONTAMINATED, "idle: clocks were held down")
    record = summarise(THREE, [*CONTROL[:2], repeat(2000.0, notes=[hot])], [GPU])
    assert (record.quality, record.notes[0].text) == (
        Quality.CONTAMINATED,
        "control: 1 of 3 windows: clocks were held down",
    )


def test_a_difference_that_cannot_be_told_says_why() -> None:
    record = summarise(THREE, CONTROL[:2], [GPU])
    assert figure(record, "gross_j").versus_control is None
    assert "expected 3: one in each round" in (record.why_missing("gross_j.versus_control") or "")
    below = summarise([repeat(700.0)], [repeat(2000.0)], [GPU])
    assert figure(below, "net_j").value == -100
    assert below.why_missing("net_j.versus_control") == "a ratio needs positive values"
    gone = summarise(THREE, [repeat(Missing("lost"))] * 3, [GPU])
    assert gone.why_missing("gross_j.versus_control") == "control: lost"


def test_a_run_that_generated_nothing_has_no_joules_per_token() -> None:
    record = summarise([repeat(done=work(0, 200))], NO_CONTROL, [GPU])
    assert record.why_missing("j_per_output_token") == "no token was generated"
    assert figure(record, "j_per_total_token").value == 15


def test_what_a_cpu_has_not_is_told() -> None:
    record = summarise([repeat()], NO_CONTROL, [CPU])
    assert record.devices[0].uuid is None
    assert record.why_missing("driver") == "a CPU has none"
    assert record.why_missing("mig_mode") == "a CPU has none"


def test_a_record_refuses_a_figure_that_is_missing_without_a_reason() -> None:
    told = summarise(THREE, CONTROL, [GPU]).model_dump(mode="json")
    with pytest.raises(ValidationError, match="idle_w: expected a figure or the reason"):
        EnergyRecord.model_validate({**told, "idle_w": None})
    with pytest.raises(ValidationError, match="idle_w: expected a figure or the reason"):
        EnergyRecord.model_validate({**told, "missing": {"lost": ["idle_w"]}})
    with pytest.raises(ValidationError, match="quality measured without energy"):
        EnergyRecord.model_validate({**told, "gross_j": None, "missing": {"lost": ["gross_j"]}})


def test_nothing_measured_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one window"):
        summarise([], NO_CONTROL)
