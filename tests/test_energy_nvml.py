"""The sampler against simulated GPUs of known true energy: what it reads is true, or it says that it may not be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.energy import estimates, nvml
from harness.energy.meters import MeterUnavailable, Missing, Sample, counter_period
from harness.energy.quality import Adequacy, Flag, Quality
from harness.energy.readings import Reading, read
from harness.energy.windows import Window, ticks
from tests.simulated_device import Gpu, Load, SimulatedNvml, VirtualClock, job, pynvml, rippled, watch

START = 1010.0
OWN = os.getpid()
FOREIGN = os.getppid()
NOBODY = 2**22 + 7
"""No process of this namespace: pids end at 2**22."""


def measure(
    gpus: Gpu | Sequence[Gpu],
    seconds: float = 10.0,
    *,
    own: Sequence[int] = (OWN,),
    old_driver: bool = False,
    adequacy: Adequacy | None = None,
    **watching: Any,
) -> Reading:
    """What the sampler tells of a window that begins at START."""
    clock = VirtualClock()
    listed = [gpus] if isinstance(gpus, Gpu) else list(gpus)
    module = SimulatedNvml(listed, clock, spend=clock.sleep, old_driver=old_driver)
    traces = watch(nvml.open_meters(nvml=module, now=clock), clock, START + seconds + 2.0, **watching)
    return read(traces, Window(START, START + seconds), own=own, adequacy=adequacy)


def busy(seconds: float = 10.0, **more: Any) -> Gpu:
    """A GPU that works for a window."""
    return Gpu(job(START, START + seconds), **more)


def flags(reading: Reading) -> set[Flag]:
    return {note.flag for note in reading.notes}


def joules(reading: Reading) -> float:
    assert not isinstance(reading.energy_j, Missing), reading.energy_j.reason
    return reading.energy_j


def uncertainty(reading: Reading) -> float:
    assert not isinstance(reading.uncertainty_j, Missing)
    return reading.uncertainty_j


def refused(**more: Any) -> str:
    """Why no meter can be opened."""
    clock = VirtualClock()
    wanted = more.pop("wanted", ())
    module = SimulatedNvml(more.pop("gpus", [busy()]), clock, **more)
    with pytest.raises(MeterUnavailable) as caught:
        nvml.open_meters(wanted, module, clock)
    return str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(10.0, 20.0),
    idle_w=st.floats(20.0, 120.0),
    busy_w=st.floats(60.0, 700.0),
    tick_s=st.sampled_from([0.02, 0.05, 0.1]),
    phase_s=st.floats(0.0, 0.1),
    seed=st.integers(0, 1000),
)
def test_a_window_of_ten_seconds_is_within_a_percent_of_the_truth_and_nothing_speaks_against_it(
    *, seconds: float, idle_w: float, busy_w: float, tick_s: float, phase_s: float, seed: int
) -> None:
    load = job(START, START + seconds, idle_w=idle_w, busy_w=busy_w)
    reading = measure(Gpu(load, tick_s=tick_s, phase_s=phase_s), seconds, seed=seed)
    truth = load.energy(START + seconds) - load.energy(START)
    assert joules(reading) == pytest.approx(truth, rel=0.01)
    assert abs(joules(reading) - truth) <= uncertainty(reading) + 0.002
    assert not reading.notes
    assert reading.quality is Quality.MEASURED


@settings(max_examples=60, deadline=None)
@given(
    watts=st.lists(st.floats(20.0, 700.0), min_size=2, max_size=40),
    seconds=st.floats(0.3, 9.9),
    seed=st.integers(0, 1000),
)
def test_the_truth_lies_within_the_uncertainty_however_short_the_window_and_wild_the_load(
    watts: list[float], seconds: float, seed: int
) -> None:
    load = Load([(START - 100.0, 50.0), *((START + i * seconds / len(watts), w) for i, w in enumerate(watts))])
    reading = measure(Gpu(load), seconds, seed=seed)
    truth = load.energy(START + seconds) - load.energy(START)
    assert abs(joules(reading) - truth) <= uncertainty(reading) + 0.002
    assert Flag.SHORT_WINDOW in flags(reading)
    assert reading.quality is not Quality.MEASURED


@pytest.mark.parametrize("period_s", [0.0031, 0.0073, 0.0117])
def test_part_time_sampling_of_a_load_out_of_step_with_it_stays_within_a_percent(period_s: float) -> None:
    load = rippled(START, START + 12, period_s, low_w=240, high_w=360)
    reading = measure(Gpu(load, sampled=0.25), 12)
    assert joules(reading) == pytest.approx(load.energy(START + 12) - load.energy(START), rel=0.01)
    assert not reading.notes


def test_what_part_time_sampling_cannot_see_shows_between_repeats_that_begin_at_random() -> None:
    random = Random(4)  # noqa: S311 - no secret
    shares = []
    for _ in range(5):
        # in step with the ticks: each window sees one phase of the load only
        load = rippled(START + random.random() / 10, START + 12, 0.05, low_w=200, high_w=400)
        shares.append(joules(measure(Gpu(load, sampled=0.25), 12)) / (load.energy(START + 12) - load.energy(START)))
    assert max(abs(share - 1) for share in shares) > 0.02
    found = estimates.of_mean(shares)
    assert not isinstance(found.interval, Missing)
    assert 1.0 in found.interval


@pytest.mark.parametrize("tick_s", [0.02, 0.05, 0.1, 0.25])
def test_the_period_of_the_counter_is_measured(tick_s: float) -> None:
    clock = VirtualClock()
    (meter,) = nvml.open_meters(nvml=SimulatedNvml([busy(tick_s=tick_s)], clock), now=clock)
    assert counter_period(meter, clock, clock.sleep) == pytest.approx(tick_s, rel=0.05)


def test_a_slow_counter_needs_a_longer_window() -> None:
    assert flags(measure(busy(tick_s=0.25))) == {Flag.SHORT_WINDOW}
    assert not measure(busy(26.0, tick_s=0.25), 26.0).notes


def test_how_long_a_window_must_be_can_be_chosen() -> None:
    assert not measure(busy(5.0), 5.0, adequacy=Adequacy(window_s=4.0, ticks=40)).notes
    assert measure(busy(), adequacy=Adequacy(window_s=30.0)).quality is Quality.INDICATIVE


@pytest.mark.parametrize(
    ("factor", "doubted"), [(0.93, True), (0.96, False), (1.04, False), (1.07, True), (1.75, True)]
)
def test_counter_and_power_that_disagree_by_more_than_five_percent_are_doubted(factor: float, doubted: bool) -> None:
    reading = measure(busy(power_factor=factor))
    assert isinstance(reading.discrepancy, float)
    assert 1 + reading.discrepancy == pytest.approx(factor, rel=0.015)
    assert reading.check == "instant power"
    assert flags(reading) == ({Flag.SENSORS_DISAGREE} if doubted else set())
    assert reading.quality is (Quality.UNCERTAIN if doubted else Quality.MEASURED)


def test_an_offset_between_the_meters_is_seen_most_where_little_is_drawn() -> None:
    assert not measure(busy(power_offset_w=10.0)).notes
    idling = Gpu(Load([(START - 100, 40.0)]), power_offset_w=10.0)
    assert flags(measure(idling)) == {Flag.SENSORS_DISAGREE}


def test_power_that_comes_late_is_no_disagreement() -> None:
    assert not measure(busy(power_lag_s=0.2)).notes


def test_a_short_window_is_not_doubted_for_what_its_ticks_leave_open() -> None:
    assert flags(measure(busy(0.5, phase_s=0.04), 0.5)) == {Flag.SHORT_WINDOW}
    assert Flag.SENSORS_DISAGREE in flags(measure(busy(2.0, power_factor=2.0), 2.0))


def test_without_instant_power_the_averaged_one_checks_long_windows_alone() -> None:
    unsupported = {"instant_error": pynvml.NVML_ERROR_NOT_SUPPORTED}
    long = measure(busy(12.0, **unsupported), 12.0)
    assert (long.method, long.check, long.notes) == ("counter", "average power", ())
    assert flags(measure(busy(12.0, power_factor=1.2, **unsupported), 12.0)) == {Flag.SENSORS_DISAGREE}
    short = measure(busy(2.0, **unsupported), 2.0)
    assert flags(short) == {Flag.SHORT_WINDOW, Flag.UNCHECKED}
    assert isinstance(short.discrepancy, Missing)


def test_without_a_power_sensor_the_counter_stands_alone_and_says_so() -> None:
    gone = {"instant_error": pynvml.NVML_ERROR_NOT_SUPPORTED, "average_error": pynvml.NVML_ERROR_NOT_SUPPORTED}
    reading = measure(busy(**gone))
    assert joules(reading) == pytest.approx(3000, rel=0.01)
    assert reading.discrepancy == Missing("no power sensor: Not Supported")


def test_without_a_counter_power_is_integrated_and_never_believed_fully() -> None:
    reading = measure(busy(counter_error=pynvml.NVML_ERROR_NOT_SUPPORTED))
    assert reading.method == "instant power"
    assert joules(reading) == pytest.approx(3000, rel=0.02)
    assert flags(reading) == {Flag.NO_COUNTER}
    assert reading.quality is Quality.UNCERTAIN
    assert reading.period_s == Missing("no energy counter: Not Supported")


def test_power_is_not_made_up_for_a_time_in_which_it_was_not_read() -> None:
    reading = measure(busy(counter_error=pynvml.NVML_ERROR_NOT_SUPPORTED, bad=((START + 3, START + 4.5),)))
    assert isinstance(reading.energy_j, Missing)
    assert "no instant power was read for 1.6 s" in reading.energy_j.reason


def test_a_counter_that_ticks_faster_than_it_is_read_is_known_to_be_fresh() -> None:
    samples = [Sample(t / 10, 0.001, float(t)) for t in range(5)]
    fast, slow = ticks(samples, 0.002), ticks(samples, Missing("it was not measured"))
    assert [tick.hi - tick.lo for tick in fast] == pytest.approx([0.004] * 4)
    assert [tick.hi - tick.lo for tick in slow] == pytest.approx([0.101] * 4)


def test_a_counter_that_is_set_back_in_the_window_is_not_subtracted() -> None:
    reading = measure(busy(reset_at=START + 4))
    assert flags(reading) == {Flag.NO_COUNTER}
    assert "set back" in reading.notes[0].text
    assert reading.method == "instant power"
    assert joules(reading) == pytest.approx(3000, rel=0.02)


@pytest.mark.parametrize("reset_at", [START - 5, START + 11.5])
def test_a_counter_that_is_set_back_outside_the_window_disturbs_nothing(reset_at: float) -> None:
    reading = measure(busy(reset_at=reset_at))
    assert joules(reading) == pytest.approx(3000, rel=0.01)
    assert not reading.notes


def test_a_device_that_is_lost_in_the_window_has_no_energy_and_not_a_part_of_it() -> None:
    reading = measure(busy(gone_at=START + 6))
    assert isinstance(reading.energy_j, Missing)
    assert "GPU is lost" in reading.energy_j.reason
    assert reading.quality is Quality.UNAVAILABLE


def test_a_device_that_is_lost_after_the_window_has_its_energy() -> None:
    assert joules(measure(busy(gone_at=START + 10.5))) == pytest.approx(3000, rel=0.01)


def test_reads_that_fail_for_a_moment_are_gaps_and_cost_no_energy() -> None:
    reading = measure(busy(bad=((START + 3, START + 3.3), (START + 7, START + 7.1))))
    assert joules(reading) == pytest.approx(3000, rel=0.01)
    assert reading.bad_samples > 3
    assert not reading.notes


def test_a_second_without_a_look_is_told() -> None:
    assert flags(measure(busy(bad=((START + 3, START + 4.5),)))) == {Flag.UNOBSERVED}
    stalled = measure(busy(), stall=(START + 5, 1.5))
    assert Flag.UNOBSERVED in flags(stalled)
    assert joules(stalled) == pytest.approx(3000, rel=0.01)


@pytest.mark.parametrize("bit", [0x08, 0x20, 0x40, 0x80])
def test_any_thermal_or_power_brake_throttle_contaminates(bit: int) -> None:
    reading = measure(busy(throttle=((START + 5, START + 5.2, bit | 0x4),)))
    assert flags(reading) == {Flag.THROTTLED}
    assert reading.quality is Quality.CONTAMINATED
    assert reading.throttle == bit | 0x4


@pytest.mark.parametrize("bit", [0x01, 0x02, 0x04, 0x10, 0x100])
def test_idling_a_power_cap_and_set_clocks_contaminate_nothing(bit: int) -> None:
    reading = measure(busy(throttle=((START - 5, START + 15, bit),)))
    assert not reading.notes
    assert reading.throttle == bit


def test_a_throttle_outside_the_window_contaminates_nothing() -> None:
    assert not measure(busy(throttle=((START - 5, START - 0.1, 0x40), (START + 10.1, START + 15, 0x40)))).notes


def test_a_foreign_process_contaminates_and_our_own_do_not() -> None:
    assert not measure(busy(processes=((0, 1e9, OWN),))).notes
    reading = measure(busy(processes=((0, 1e9, OWN), (START + 4, START + 7, FOREIGN))))
    assert flags(reading) == {Flag.FOREIGN_PROCESS}
    assert reading.quality is Quality.CONTAMINATED
    assert str(FOREIGN) in reading.notes[0].text


def test_a_process_of_another_namespace_may_be_ours_and_leaves_doubt() -> None:
    reading = measure(busy(processes=((0, 1e9, NOBODY),)))
    assert flags(reading) == {Flag.UNKNOWN_PROCESS}
    assert reading.quality is Quality.UNCERTAIN


def test_a_device_that_does_not_tell_who_uses_it_leaves_doubt() -> None:
    reading = measure(busy(watch_error=pynvml.NVML_ERROR_NOT_SUPPORTED))
    assert flags(reading) == {Flag.UNWATCHED}
    assert isinstance(reading.throttle, Missing)


def test_a_window_that_began_before_the_sampler_has_no_energy() -> None:
    clock = VirtualClock(START + 5)
    module = SimulatedNvml([busy()], clock)
    traces = watch(nvml.open_meters(nvml=module, now=clock), clock, START + 12)
    reading = read(traces, Window(START, START + 10), own=(OWN,))
    assert isinstance(reading.energy_j, Missing)
    assert "before the window" in reading.energy_j.reason


def test_a_window_between_two_ticks_has_no_counter_difference() -> None:
    reading = measure(busy(0.02, phase_s=0.05), 0.02)
    assert Flag.NO_COUNTER in flags(reading)


def test_the_state_of_the_device_is_recorded() -> None:
    reading = measure(busy())
    assert (reading.temperature_c, reading.sm_mhz, reading.memory_mhz) == (61, 1980, 3201)
    assert (reading.power_limit_w, reading.throttle) == (700, 0)
    assert reading.period_s == pytest.approx(0.1, rel=0.05)
    assert reading.samples > 100


def test_a_driver_that_knows_the_older_names_alone_is_asked_by_them() -> None:
    reading = measure(busy(throttle=((START + 5, START + 6, 0x40),)), old_driver=True)
    assert flags(reading) == {Flag.THROTTLED}
    assert reading.temperature_c == 61


def test_several_devices_are_added_up() -> None:
    second = busy(uuid="GPU-2", throttle=((START + 1, START + 2, 0x20),))
    reading = measure([busy(), second])
    assert joules(reading) == pytest.approx(6000, rel=0.01)
    assert reading.power_limit_w == 1400
    assert [(note.flag, note.text.partition(":")[0]) for note in reading.notes] == [(Flag.THROTTLED, "GPU-2")]


def test_the_sum_of_several_devices_is_unknown_when_one_is() -> None:
    reading = measure([busy(), busy(uuid="GPU-2", gone_at=START + 3)])
    assert isinstance(reading.energy_j, Missing)
    assert reading.quality is Quality.UNAVAILABLE


def test_power_is_never_asked_for_so_often_that_it_comes_back_as_zero() -> None:
    reading = measure(busy(), interval_s=0.001)
    assert not reading.notes
    assert reading.bad_samples == 0
    assert reading.samples <= 201


def test_a_zero_is_a_bad_read_and_not_a_measurement() -> None:
    reading = measure(busy(fastest_power_s=0.06))
    assert reading.bad_samples > 0
    assert isinstance(reading.discrepancy, float)
    assert abs(reading.discrepancy) < 0.02


def test_a_mig_instance_has_no_meter_and_the_reason_says_so() -> None:
    assert "no energy meter of its own" in refused(wanted=["MIG-0b7fbc3d"])
    assert "MIG mode" in refused(gpus=[busy(mig=1)])


def test_a_gpu_without_mig_says_that_it_knows_none() -> None:
    clock = VirtualClock()
    meters = nvml.open_meters(nvml=SimulatedNvml([busy(mig=None), busy(mig=0)], clock), now=clock)
    assert [meter.source.mig_mode for meter in meters] == ["unsupported", "disabled"]
    assert meters[0].source.driver == "580.00"


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no NVIDIA driver here"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "load the NVIDIA kernel module"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "/dev/nvidia"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "restart"),
    ],
)
def test_a_library_that_does_not_start_says_why_and_what_to_do(code: int, mend: str) -> None:
    assert mend in refused(init_error=code)


def test_a_gpu_that_is_not_there_is_named() -> None:
    assert "no GPU GPU-77" in refused(wanted=["GPU-77"])
    assert "no GPU 3" in refused(wanted=["3"])
    assert "no GPU" in refused(gpus=[])


def test_a_gpu_without_counter_and_power_has_no_meter() -> None:
    never = pynvml.NVML_ERROR_NOT_SUPPORTED
    text = refused(gpus=[busy(counter_error=never, instant_error=never, average_error=never)])
    assert "no energy counter" in text
    assert "no power sensor" in text


def test_nothing_to_measure_is_said() -> None:
    assert isinstance(read([], Window(1.0, 2.0)).energy_j, Missing)
    assert "a window of some length" in measure(busy(), -1.0).notes[0].text
