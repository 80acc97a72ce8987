"""What a matrix run tells of the cost of its cells: figures, or the reason why there are none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import pytest

from harness.backends.base import Observation
from harness.energy.metering import Metering, NoMeter, meters, started
from harness.energy.meters import Missing
from harness.energy.quality import Quality
from harness.energy.record import FIGURES, EnergyRecord
from harness.energy.tally import Tally
from harness.host import Attempt
from harness.store import dump, read
from tests import projects, toys


def chunk(at_s: float, tokens: int, prompt: int = 0) -> dict[str, Any]:
    return {"prompt": prompt, "seed": 0, "at_s": at_s, "tokens": tokens, "text": ""}


def output(prompt: int, *ids: int, prompt_tokens: int | None = 4) -> dict[str, Any]:
    told = {} if prompt_tokens is None else {"prompt_tokens": prompt_tokens}
    return {"prompt": prompt, "seed": 0, "token_ids": list(ids), "text": "", "ended": True, **told}


def tally(*passes: dict[str, Any]) -> Tally:
    counted = Tally()
    for seen in passes:
        counted.add(cast("Observation", seen))
    return counted


def test_tokens_are_those_that_were_delivered() -> None:
    two = {"outputs": [output(0, 1, 2), output(1, 3)]}
    assert tally(two).output_tokens == 3
    assert tally(two, two).output_tokens == 6
    assert tally(two, two).work().total_tokens == 6 + 16
    several = {**two, "sequences": [{"token_ids": [1, 2]}, {"token_ids": [7, 8, 9]}, {"token_ids": [3]}]}
    assert tally(several).output_tokens == 6, "each of several sequences that were asked for"
    assert tally({**several, "beams": [{}]}).output_tokens == 3, "of a search's beams the best one"


def test_an_engine_that_does_not_tell_the_length_of_prompts_leaves_the_total_unknown() -> None:
    whole, part = {"outputs": [output(0, 1)]}, {"outputs": [output(0, 1), output(1, 1, prompt_tokens=None)]}
    assert isinstance(tally(whole, part, whole).work().total_tokens, Missing)


def test_times_of_tokens_are_told_where_output_is_streamed_and_only_there() -> None:
    streamed = tally({"outputs": [], "chunks": [chunk(0.5, 1), chunk(0.6, 1), chunk(0.8, 2), chunk(0.9, 0)]}).work()
    assert streamed.ttft_s == (0.5,)
    assert streamed.inter_token_s == (0.1, 0.1, 0.1)
    whole = tally({"outputs": [], "chunks": [chunk(0.5, 3), chunk(0.5, 3, prompt=1)]}).work()
    assert whole.ttft_s == whole.inter_token_s
    assert isinstance(whole.ttft_s, Missing)


def test_memory_is_the_most_of_any_pass_over_all_processes() -> None:
    small = {"outputs": [], "memory": [{"pid": 1, "host_peak": 10}, {"pid": 2, "host_peak": 5, "device_peak": 7}]}
    large = {"outputs": [], "memory": [{"pid": 1, "host_peak": 30}]}
    work = tally(small, large, small).work()
    assert (work.peak_host_bytes, work.peak_device_bytes) == (30, 7)
    assert isinstance(tally({"outputs": []}).work().peak_host_bytes, Missing)


def attempt(elsewhere: bool = False, **told: Any) -> Attempt:
    return Attempt(dataclasses.replace(toys.seen(), read_back=told), None, elsewhere=elsewhere)


def test_the_meters_are_those_of_the_devices_that_engines_say_they_use() -> None:
    assert meters([attempt(gpu_uuids=["GPU-1"]), attempt(gpu_uuids=["GPU-2", "GPU-1"])]) == ("nvml:GPU-1", "nvml:GPU-2")
    assert meters([attempt(gpu_uuids=[])]) == ("rapl",)
    assert isinstance(meters([attempt()]), Missing), "a GPU that is not told of must not be taken for a CPU"
    assert isinstance(meters([attempt(gpu_uuids=[], elsewhere=True)]), Missing)


def test_a_sampler_is_started_once_for_the_same_devices_and_early_where_there_is_but_one() -> None:
    asked: list[tuple[str, ...]] = []

    def start(wanted: Any) -> NoMeter:
        asked.append(tuple(wanted))
        return NoMeter("none")

    metering = Metering(start)
    metering.expect({"gpus": [{"uuid": "GPU-1"}, {"uuid": "GPU-2"}]})
    assert asked == []
    metering.expect({"gpus": [{"uuid": "GPU-1"}]})
    metering.of([attempt(gpu_uuids=["GPU-1"])])
    metering.of([attempt(gpu_uuids=[])])
    metering.of([attempt(gpu_uuids=[])])
    assert asked == [("nvml:GPU-1",), ("rapl",)]


def test_a_machine_without_counters_starts_no_process() -> None:
    meter = started(("rapl",))
    if isinstance(meter, NoMeter):
        assert "RAPL" in meter.unavailable() or "energy" in meter.unavailable()
    else:
        assert meter.unavailable() is None
        meter.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EnergyRecord]:
    """The energy objects of a run whose cells end in every way."""
    folder = projects.make(tmp_path_factory.mktemp("energy") / "project")
    assert projects.paramatrix(folder, "run").returncode == 0
    found = {name: cell.energy for name, cell in projects.results(folder).cells.items()}
    assert all(energy is not None for energy in found.values())
    return cast("dict[str, EnergyRecord]", found)


def test_every_cell_has_figures_or_reasons(judged: dict[str, EnergyRecord]) -> None:
    for energy in judged.values():
        assert energy.mode == "functional"
        assert all(getattr(energy, name) is not None or energy.why_missing(name) for name in FIGURES)
    ran = judged["pytorch-decoder.top_k=5"]
    assert ran.output_tokens is not None
    assert ran.output_tokens.value == 2
    assert ran.total_tokens is not None
    assert ran.total_tokens.value == 5
    assert ran.peak_host_bytes is not None
    assert ran.peak_host_bytes.value == 1 << 20
    assert ran.tokens_per_s is not None
    assert ran.duration_s is not None
    assert ran.tokens_per_s.value == pytest.approx(2 / ran.duration_s.value)
    assert ran.why_missing("j_per_output_token") == "a functional cell's window is too short for a claim per token"


def test_a_cell_that_did_not_run_says_so_in_the_place_of_every_figure(judged: dict[str, EnergyRecord]) -> None:
    for name, cause in {
        "pytorch-decoder.top_p=0.5": "missing_hardware",
        "pytorch-passthrough_kwargs=raise": "rejected_by_backend",
    }.items():
        assert judged[name].quality is Quality.UNAVAILABLE
        assert judged[name].missing == {f"no run came to its end: {cause}": list(FIGURES)}


def test_results_of_before_energy_was_told_are_read(tmp_path: Path) -> None:
    run = toys.run_record("r", toys.planned("decoder.top_k=1"))
    old = json.loads(dump(toys.cell_record("r", "decoder.top_k=1")))
    del old["energy"]
    path = tmp_path / "results.jsonl"
    path.write_bytes(dump(run) + json.dumps(old).encode() + b"\n")
    (found,) = read(path).cells.values()
    assert found.energy is None
