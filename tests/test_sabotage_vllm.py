"""No ✅ for a value that vLLM never got, got wrong, or did not hear: its real engine, sabotaged on the way to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import plan
from harness.declare import Scope
from harness.experiment import unmet_need
from harness.host import BackendHost, Launcher, Limits
from harness.jsontypes import JSON
from harness.plan import Cell, Run
from harness.verdict import Cause
from matrix import MATRIX
from matrix.variants import SHIPPED
from tests.interpreters import ROOT
from tests.sabotage import Bench, others, without


def _plain(cell: Cell) -> Cell:
    """The variant that is the shipped model needs no folder of its own."""
    if cell.treated.variant is not SHIPPED:
        return cell
    return replace(cell, treated=replace(cell.treated, variant=None), control=replace(cell.control, variant=None))


ALL = tuple(
    cell
    for cell in map(_plain, plan.build(MATRIX, models={"vllm": str(MATRIX.shipped_model)}, backends=["vllm"]))
    if not cell.treated.variant and not cell.not_applicable and not unmet_need(cell.needs, {"gpus": []})
)
REQUESTS = sorted(
    (cell for cell in ALL if cell.scope is Scope.REQUEST and not cell.parameter.startswith("traffic_simulation")),
    key=lambda cell: cell.treated.engine_key,
)
"""Paced ones are left out: they would take most of the time. Those that share an engine stand together."""
BASE = next(cell.control.engine_key for cell in REQUESTS if cell.parameter == "max_output_tokens")
HELD_AGAINST_BASE = [
    cell
    for cell in ALL
    if cell.scope is Scope.ENGINE and cell.contrast == "withheld" and without(cell).engine_key == BASE
]
"""Engine-scoped cells whose control is the engine that most cells share: that one stands for the deaf engine."""
FEW = ("vllm.num_gpu_blocks_override", "vllm.long_prefill_token_threshold")
PAIRS = [cell for cell in ALL if cell.parameter in FEW]
"""A sample: each takes an engine."""

UPSTREAMS_OWN: dict[str, JSON] = {
    "decoder.do_sample": True,
    "decoder.temperature": 1.0,
    "decoder.top_k": 0,
    "decoder.top_p": 1.0,
    "decoder.min_p": 0.0,
    "decoder.repetition_penalty": 1.0,
    "decoder.beam_search.enabled": False,
    "decoder.beam_search.length_penalty": 1.0,
    "vllm.n": 1,
    "vllm.ignore_eos": False,
    "vllm.include_stop_str_in_output": False,
    "vllm.flat_logprobs": False,
    "vllm.presence_penalty": 0.0,
    "vllm.frequency_penalty": 0.0,
    "vllm.detokenize": True,
    "vllm.skip_special_tokens": True,
    "vllm.spaces_between_special_tokens": True,
    "vllm.skip_reading_prefix_cache": False,
}
"""What a request has that says nothing: who does not hear these does as they say."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    path = Path(os.environ.get("PARAMATRIX_VLLM_PYTHON") or ROOT / ".venvs" / "vllm" / "bin" / "python")
    if not path.is_file():
        pytest.skip(f"no vLLM interpreter at {path}: `make setup BACKENDS=vllm` makes it")
    host = BackendHost("vllm", Launcher((str(path),)), Limits())
    yield Bench(host)
    host.close()


def _sabotaged(cell: Cell) -> str:
    return f"{cell.row} sabotaged"


def dropped(cell: Cell) -> Run:
    """As `without`; and what says the same to vLLM goes too: there, to sample is to have a temperature of 1."""
    run = without(cell)
    if cell.parameter != "decoder.temperature":
        return run
    return replace(run, request={path: value for path, value in run.request.items() if path != "decoder.do_sample"})


def own(cell: Cell) -> bool:
    """Whether the value is what upstream does anyway."""
    return cell.parameter in UPSTREAMS_OWN and UPSTREAMS_OWN[cell.parameter] == cell.value


@pytest.mark.parametrize("cell", [cell for cell in REQUESTS if not cell.by_harness], ids=_sabotaged)
def test_a_value_that_the_adapter_drops_does_not_pass(cell: Cell, bench: Bench) -> None:
    assert bench.verdict(cell, dropped(cell)) is not Cause.CONFIRMED


@pytest.mark.parametrize("cell", [cell for cell in REQUESTS if not cell.by_harness and not own(cell)], ids=_sabotaged)
def test_a_value_that_upstream_takes_and_forgets_does_not_pass(cell: Cell, bench: Bench) -> None:
    assert bench.deaf(cell) is not Cause.CONFIRMED


@pytest.mark.parametrize("cell", [cell for cell in REQUESTS if others(cell, REQUESTS)], ids=_sabotaged)
def test_another_value_in_its_place_does_not_pass(cell: Cell, bench: Bench) -> None:
    confirmed = [o.value for o in others(cell, REQUESTS) if bench.verdict(cell, o.treated) is Cause.CONFIRMED]
    assert not confirmed


@pytest.mark.parametrize("cell", HELD_AGAINST_BASE, ids=_sabotaged)
def test_an_engine_that_takes_a_value_and_forgets_it_does_not_pass(cell: Cell, bench: Bench) -> None:
    assert bench.deaf(cell) is not Cause.CONFIRMED


@pytest.mark.parametrize("cell", PAIRS, ids=_sabotaged)
def test_an_engine_with_another_value_does_not_pass(cell: Cell, bench: Bench) -> None:
    confirmed = [o.value for o in others(cell, PAIRS) if bench.verdict(cell, o.treated) is Cause.CONFIRMED]
    assert not confirmed
