"""The declarations cover the schema and the sample page, and say what they must."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from harness import plan
from harness.config import leaf_paths, schema_field
from harness.declare import Column, Parameter
from harness.plan import Cell
from matrix import MATRIX

SHARED_ROWS = """
fp_precision=bfloat16 fp_precision=float16 fp_precision=float32
batching.batch_size=1 batching.batch_size=8 batching.strategy=dynamic batching.strategy=sorted_dynamic
batching.strategy=sorted_static batching.strategy=static
decoder.beam_search.early_stopping=False decoder.beam_search.early_stopping=True
decoder.beam_search.enabled=False decoder.beam_search.enabled=True
decoder.beam_search.length_penalty=0.5 decoder.beam_search.length_penalty=1.0 decoder.beam_search.length_penalty=1.5
decoder.beam_search.no_repeat_ngram_size=0 decoder.beam_search.no_repeat_ngram_size=2
decoder.beam_search.no_repeat_ngram_size=3
decoder.beam_search.num_beams=1 decoder.beam_search.num_beams=2 decoder.beam_search.num_beams=4
decoder.preset=creative decoder.preset=deterministic decoder.preset=factual decoder.preset=standard
parallelism.strategy=pipeline_parallel parallelism.strategy=tensor_parallel
quantization.bnb_4bit_quant_type=fp4 quantization.bnb_4bit_quant_type=nf4
quantization.load_in_4bit=False quantization.load_in_4bit=True
quantization.load_in_8bit=False quantization.load_in_8bit=True
quantization.quantization=False quantization.quantization=True
streaming=False streaming=True traffic_simulation.enabled=False traffic_simulation.enabled=True
traffic_simulation.mode=constant traffic_simulation.mode=poisson
""".split()  # noqa: SIM905 - a list this long is read better so
"""Shared rows of the sample page; a bare name there is its falsy value here."""

OWN_ROWS = {
    "pytorch": [
        "pytorch.torch_compile_backend=cudagraphs",
        "pytorch.torch_compile_backend=inductor",
        "pytorch.torch_compile_backend=onnxrt",
    ],
    "vllm": [
        "vllm.attention.backend=FLASHINFER",
        "vllm.attention.backend=FLASH_ATTN",
        "vllm.attention.backend=TORCH_SDPA",
        "vllm.attention.backend=auto",
        "vllm.best_of=1",
        "vllm.best_of=2",
        "vllm.block_size=16",
        "vllm.block_size=32",
        "vllm.block_size=8",
        "vllm.cpu_offload_gb=0.0",
        "vllm.cpu_offload_gb=2.0",
        "vllm.distributed_backend=mp",
        "vllm.distributed_backend=ray",
        "vllm.enable_chunked_prefill=False",
        "vllm.enable_chunked_prefill=True",
        "vllm.enable_prefix_caching=False",
        "vllm.enable_prefix_caching=True",
        "vllm.enforce_eager=False",
        "vllm.enforce_eager=True",
        "vllm.gpu_memory_utilization=0.5",
        "vllm.gpu_memory_utilization=0.6",
        "vllm.gpu_memory_utilization=0.7",
        "vllm.kv_cache_dtype=auto",
        "vllm.kv_cache_dtype=bfloat16",
        "vllm.kv_cache_dtype=float16",
        "vllm.kv_cache_dtype=fp8",
        "vllm.load_format=auto",
        "vllm.load_format=pt",
        "vllm.load_format=safetensors",
        "vllm.logprobs=0",
        "vllm.logprobs=5",
        "vllm.max_num_seqs=128",
        "vllm.max_num_seqs=256",
        "vllm.max_num_seqs=32",
        "vllm.max_num_seqs=64",
        "vllm.quantization_method=None",
        "vllm.quantization_method=awq",
        "vllm.quantization_method=fp8",
        "vllm.quantization_method=gptq",
        "vllm.swap_space=0.0",
        "vllm.swap_space=4.0",
    ],
}
"""Rows of the sample page that one backend has alone."""

REFUSED = {
    "pytorch": {
        "decoder.temperature=0.0",
        "parallelism.strategy=pipeline_parallel",
        "quantization.quantization=True",
    },
    "vllm": {
        "decoder.top_p=0.0",
        "quantization.load_in_4bit=True",
        "quantization.load_in_8bit=True",
        "quantization.quantization=True",
    },
}
"""Cells whose treated config our own validation refuses: they are run all the same."""


@pytest.fixture(scope="module", params=sorted(OWN_ROWS))
def cells(request: pytest.FixtureRequest) -> tuple[Cell, ...]:
    backend = str(request.param)
    return plan.build(MATRIX, models={backend: str(MATRIX.shipped_model)}, backends=[backend])


def is_excluded(path: str) -> bool:
    return any(fnmatch(path, item.path) for item in MATRIX.excluded)


def test_every_field_of_the_schema_is_declared_or_excluded_with_a_reason() -> None:
    declared = {parameter.path for parameter in MATRIX.parameters}
    missing = [path for path in leaf_paths() if path not in declared and not is_excluded(path)]
    assert not missing
    assert all(len(item.reason) > 20 for item in MATRIX.excluded)


def test_nothing_is_declared_that_is_excluded_or_that_the_schema_does_not_have() -> None:
    for parameter in MATRIX.parameters:
        assert not is_excluded(parameter.path), parameter.path
        assert parameter.path in leaf_paths(), parameter.path


def test_every_row_that_the_sample_page_has_for_a_backend_is_planned(cells: tuple[Cell, ...]) -> None:
    assert {*SHARED_ROWS, *OWN_ROWS[cells[0].backend]} <= {cell.row for cell in cells}


def test_at_least_90_cells_are_planned_for_each_backend(cells: tuple[Cell, ...]) -> None:
    assert len(cells) >= 90


@pytest.mark.parametrize("parameter", MATRIX.parameters, ids=lambda parameter: str(parameter.path))
def test_a_switch_is_tested_off_as_well_as_on(parameter: Parameter) -> None:
    values = [value.value for value in parameter.values]
    if schema_field(parameter.path).kinds == ("bool",):
        assert any(value is True for value in values)
        assert any(value is False for value in values)
    assert values


def test_every_value_differs_from_its_control(cells: tuple[Cell, ...]) -> None:
    for cell in cells:
        assert cell.treated.settings != cell.control.settings, cell.id
        assert cell.treated.settings[cell.parameter] == cell.value, cell.id
        assert cell.control.settings.get(cell.parameter) != cell.value, cell.id


def test_treated_run_and_control_generate_the_same_workload(cells: tuple[Cell, ...]) -> None:
    for cell in cells:
        assert cell.treated.workload is cell.control.workload, cell.id
        assert cell.treated.instruments == cell.control.instruments, cell.id


def test_request_scoped_cells_share_the_engine_of_their_control(cells: tuple[Cell, ...]) -> None:
    for cell in cells:
        shared = cell.treated.engine_key == cell.control.engine_key
        assert shared is (cell.scope.value == "request"), cell.id


def test_what_validation_refuses_is_only_what_the_page_shows_as_refused(cells: tuple[Cell, ...]) -> None:
    assert {cell.row for cell in cells if cell.rejected and not cell.not_applicable} == REFUSED[cells[0].backend]


def test_every_column_has_a_probe_in_words() -> None:
    for parameter in MATRIX.parameters:
        for column in parameter.columns.values():
            if isinstance(column, Column):
                assert len(column.probe.says) > 20, parameter.path
