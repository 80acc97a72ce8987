"""What TensorRT-LLM's live objects are read for, against objects made by hand as upstream makes them.

The library is not here. What these tests hold is that a thing in its place is read right, that a thing which
is elsewhere is named and left out rather than guessed, and that nothing stays wrapped.
"""

# ruff: noqa: ARG001, ARG002, ARG005 - upstream's signatures

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.backends.base import Calls, Declared
from harness.backends.tensorrt.building import Building
from harness.backends.tensorrt.configs import config_arguments
from harness.backends.tensorrt.enginefiles import describe_files, engines_in
from harness.backends.tensorrt.outputs import Told
from harness.backends.tensorrt.readback import describe_engine
from harness.backends.tensorrt.reads import Reads
from harness.backends.tensorrt.witness import Witness, scheduled
from harness.jsontypes import Settings


class Kind(Enum):
    """Upstream's ResourceManagerType."""

    KV_CACHE_MANAGER = "KV_CACHE_MANAGER"
    PEFT_CACHE_MANAGER = "PEFT_CACHE_MANAGER"


class Tensor:
    """A tensor's shape and type."""

    def __init__(self, *shape: int, dtype: str = "torch.float16", element: int = 2) -> None:
        self.shape = shape
        self.dtype = dtype
        self._element = element

    def numel(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count

    def element_size(self) -> int:
        return self._element

    def dim(self) -> int:
        return len(self.shape)


class Module:
    """A module with parameters of its own."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def parameters(self) -> Iterable[Tensor]:
        return [item for item in vars(self).values() if isinstance(item, Tensor)]


class Linear(Module):
    """As upstream calls its own."""


class RMSNorm(Module):
    """As upstream calls its own."""


class TrtllmAttention(Module):
    """As upstream calls its own."""


class UnquantizedLinearMethod:
    """As upstream calls its own."""


class Model(Module):
    """Two layers and a norm."""

    def __init__(self) -> None:
        quant = UnquantizedLinearMethod()
        self.layers = [Linear(weight=Tensor(8, 4), quant_method=quant) for _ in range(2)]
        self.norm = RMSNorm(variance_epsilon=1e-5, weight=Tensor(4))
        self.attention = Module(attn=TrtllmAttention())
        self.model_config = SimpleNamespace(pretrained_config=SimpleNamespace())

    def modules(self) -> Iterable[Module]:
        return [self, *self.layers, self.norm, self.attention, self.attention.attn]

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        for place, layer in enumerate(self.layers):
            yield f"layers.{place}.up.weight", layer.weight
        yield "norm.weight", self.norm.weight


class PyTorchModelEngine:
    """Upstream's runner of the model."""

    def __init__(self) -> None:
        self.batch_size, self.max_num_tokens, self.max_seq_len, self.max_beam_width = 8, 256, 512, 1
        self.model = Model()
        self._torch_compile_enabled = False
        self.cuda_graph_runner = Graphs()
        self.handed: list[Any] = []

    def forward(self, scheduled_requests: Any, resource_manager: Any = None) -> str:
        self.handed.append(scheduled_requests)
        return "logits"


class Graphs:
    """Upstream's CUDAGraphRunner."""

    def __init__(self) -> None:
        self.enabled, self.padding_enabled = True, False
        self.supported_batch_sizes = [2, 1]
        self.graphs = {(2, 0, False): object(), (1, 0, False): object()}

    def replay(self, key: tuple[int, int, bool], inputs: Any) -> str:
        return f"replayed {key[0]}"


class KVCacheManager:
    """Upstream's, with two layers."""

    def __init__(self) -> None:
        self.tokens_per_block, self.max_seq_len = 32, 512
        self.blocks_in_primary_pool, self.blocks_in_secondary_pool = 64, 0
        self.impl = SimpleNamespace(enable_block_reuse=True)
        self.max_attention_window_vec = [512]
        self.layer_offsets = {0: 0, 1: 1}

    def get_buffers(self, layer: int) -> Tensor:
        return Tensor(64, 2, 32, 4)


class PyExecutor:
    """Upstream's, in one process."""

    def __init__(self) -> None:
        self.model_engine = PyTorchModelEngine()
        self.sampler = SimpleNamespace(_grouped_sampler_cls=type("SimpleGroupedStrategySampler", (), {}))
        self.scheduler = SimpleNamespace()
        self.drafter = None
        self.guided_decoder = SimpleNamespace(grammar_matcher_factory=type("XGrammarMatcherFactory", (), {})())
        config = SimpleNamespace(lora_target_modules=["attn_q"])
        self.resource_manager = SimpleNamespace(
            resource_managers={
                Kind.KV_CACHE_MANAGER: KVCacheManager(),
                Kind.PEFT_CACHE_MANAGER: SimpleNamespace(_lora_config=config),
            }
        )

    def event_loop(self) -> None:
        """Runs."""


class LLM:
    """A loaded one."""

    def __init__(self, executor: Any, events: int = 0) -> None:
        self._executor = SimpleNamespace(engine=executor) if executor else SimpleNamespace()
        self._hf_model_dir = Path("/models/tiny")
        cache = SimpleNamespace(event_buffer_max_size=events)
        self.args = SimpleNamespace(kv_cache_config=cache, model_dump=lambda **_: {"max_batch_size": 8})
        self.statistics: list[list[Any]] = []

    def get_stats(self, timeout: float | None = 2) -> list[Any]:
        return self.statistics.pop(0) if self.statistics else []

    def get_kv_cache_events(self, timeout: float | None = 2) -> list[Any]:
        return [object()] * 3


def read(executor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts about an engine with this executor, and the reads that failed."""
    reads = Reads()
    return describe_engine(LLM(executor), Building(reads), reads), reads.unread


def test_a_live_executor_is_read_where_upstream_keeps_things() -> None:
    facts, unread = read(PyExecutor())
    assert set(unread) == {"executor.autotuned"}, "the library itself is asked for this one"
    executor = facts["executor"]
    assert executor["model_engine"] == "PyTorchModelEngine"
    assert executor["event_loop"] == "event_loop"
    assert executor["sampling_kernels"] == "torch"
    assert executor["guided_decoder"] == "XGrammarMatcherFactory"
    assert executor["drafter"] is None
    assert executor["peft"] == {"modules": ["attn_q"]}
    sizes = ("max_batch_size", "max_num_tokens", "max_seq_len", "max_beam_width")
    assert [executor[name] for name in sizes] == [8, 256, 512, 1]
    assert facts["kv_cache"] == {
        "class": "KVCacheManager",
        "tokens_per_block": 32,
        "blocks": 64,
        "host_blocks": 0,
        "max_seq_len": 512,
        "enable_block_reuse": True,
        "windows": [512],
        "dtype": "torch.float16",
        "pool_bytes": 2 * 64 * 2 * 32 * 4 * 2,
    }
    assert facts["cuda_graph"] == {"enabled": True, "padding": False, "batch_sizes": [1, 2], "captured": [1, 2]}
    assert facts["parameter_dtypes"] == {"torch.float16": 3}
    assert facts["norm_epsilons"] == [1e-5]
    assert facts["attention_backends"] == {"TRTLLM": 1}
    model = facts["model"]
    assert (model["parameters"], model["weight_bytes"], model["linear_bytes"]) == (68, 136, 128)
    assert model["linear_methods"] == {"UnquantizedLinearMethod": 2}
    assert model["local_shapes"] == {"layers.up.weight": ["torch.float16", 8, 4]}
    assert facts["torch_compile"] == {}


def _without(path: str) -> PyExecutor:
    """An executor of a version that keeps the last of `path` elsewhere."""
    executor = PyExecutor()
    *owners, name = path.split(".")
    place: Any = executor
    for owner in owners:
        place = place[Kind[owner]] if owner in Kind.__members__ else getattr(place, owner)
    delattr(place, name)
    return executor


MANAGERS = "resource_manager.resource_managers"


@pytest.mark.parametrize(
    ("gone", "fact"),
    [
        ("sampler", "executor.sampler"),
        ("sampler._grouped_sampler_cls", "executor.sampling_kernels"),
        ("guided_decoder.grammar_matcher_factory", "executor.guided_decoder"),
        ("drafter", "executor.drafter"),
        ("model_engine.max_num_tokens", "executor.max_num_tokens"),
        (f"{MANAGERS}.PEFT_CACHE_MANAGER._lora_config", "executor.peft"),
        (f"{MANAGERS}.KV_CACHE_MANAGER.impl", "kv_cache.enable_block_reuse"),
        (f"{MANAGERS}.KV_CACHE_MANAGER.max_attention_window_vec", "kv_cache.windows"),
        (f"{MANAGERS}.KV_CACHE_MANAGER.blocks_in_primary_pool", "kv_cache.blocks"),
        ("model_engine.cuda_graph_runner.graphs", "cuda_graph.captured"),
        ("model_engine._torch_compile_enabled", "torch_compile"),
        ("model_engine.cuda_graph_runner", "cuda_graph"),
        ("model_engine.model", "model"),
        ("resource_manager", "kv_cache"),
    ],
)
def test_a_thing_that_is_elsewhere_is_named_and_left_out(gone: str, fact: str) -> None:
    whole, before = read(PyExecutor())
    facts, unread = read(_without(gone))
    assert fact in unread
    assert fact not in before

    def keys(found: dict[str, Any]) -> set[str]:
        nested = {f"{name}.{key}" for name in ("executor", "kv_cache", "cuda_graph") for key in found.get(name, {})}
        return nested | set(found)

    gone_facts = keys(whole) - keys(facts)
    assert fact in gone_facts
    assert all(any(name.startswith(each) for each in unread) for name in gone_facts if "." in name)


def test_an_executor_in_another_process_is_said_nothing_about() -> None:
    facts, unread = read(None)
    assert not {"executor", "kv_cache", "cuda_graph", "model", "parameter_dtypes"} & set(facts)
    assert facts["args"] == {"class": "SimpleNamespace", "max_batch_size": 8}
    assert unread == {}


def _request(client: int, chunk: int = 0, drafts: int = 0, **more: Any) -> Any:
    return SimpleNamespace(py_client_id=client, context_chunk_size=chunk, py_draft_tokens=[0] * drafts, **more)


def _batch(context: Iterable[Any] = (), generation: Iterable[Any] = ()) -> Any:
    return SimpleNamespace(context_requests=list(context), generation_requests=list(generation))


def test_steps_and_replays_are_noted_and_nothing_stays_wrapped() -> None:
    executor, reads = PyExecutor(), Reads()
    runner = executor.model_engine
    batch = _batch([_request(1, chunk=12)], [_request(2, drafts=3)])
    with Witness(LLM(executor), reads) as witness:
        assert runner.forward(batch, resource_manager=None) == "logits"
        assert runner.forward(scheduled_requests=_batch()) == "logits"
        for _ in range(2):
            assert runner.cuda_graph_runner.replay((2, 0, False), {}) == "replayed 2"
    assert runner.handed[0] is batch
    assert witness.steps == [[[1, 12, 0], [2, 4, 3]]]
    assert witness.resolved()["cuda_graphs"] == {"replays": {"2": 2}}
    assert reads.unread == {}
    assert "forward" not in vars(runner)
    assert "replay" not in vars(runner.cuda_graph_runner)


def test_a_job_that_fails_leaves_nothing_wrapped() -> None:
    executor = PyExecutor()
    with pytest.raises(RuntimeError), Witness(LLM(executor), Reads()):
        raise RuntimeError
    assert "forward" not in vars(executor.model_engine)


def test_a_step_that_cannot_be_read_does_not_stop_the_model() -> None:
    executor, reads = PyExecutor(), Reads()
    with Witness(LLM(executor), reads) as witness:
        assert executor.model_engine.forward(object()) == "logits"
    assert witness.steps == []
    assert "AttributeError" in str(reads.unread["scheduled"])


def test_a_runner_without_graphs_is_named() -> None:
    reads = Reads()
    with Witness(LLM(_without("model_engine.cuda_graph_runner")), reads) as witness:
        pass
    assert "cuda_graphs" in reads.unread
    assert "cuda_graphs" not in witness.resolved()


def test_requests_that_fill_up_are_no_requests() -> None:
    fillers = [_request(0, is_cuda_graph_dummy=True), _request(0, is_attention_dp_dummy=True)]
    assert scheduled(_batch(fillers, [*fillers, _request(5)])) == [[5, 1, 0]]


def test_statistics_are_of_this_job_alone_and_cut_to_what_is_asked_for() -> None:
    llm, reads = LLM(None, events=16), Reads()
    own = {
        "iter": 7,
        "numActiveRequests": 2,
        "timestamp": "now",
        "kvCacheStats": {"usedNumBlocks": 3, "other": 1},
        "inflightBatchingStats": None,
        "staticBatchingStats": {"numContextRequests": 2, "other": 1},
        "requestStats": [{"id": 1, "numGeneratedTokens": 2, "disServingStats": {}}],
    }
    llm.statistics = [[{"iter": 6}], [json.dumps(own)]]
    with Witness(llm, reads) as witness:
        pass
    assert witness.resolved() == {
        "iterations": [
            {
                "iter": 7,
                "numActiveRequests": 2,
                "kvCacheStats": {"usedNumBlocks": 3},
                "staticBatchingStats": {"numContextRequests": 2},
                "requestStats": [{"id": 1, "numGeneratedTokens": 2}],
            }
        ],
        "cache_events": 3,
    }


def test_statistics_that_upstream_cannot_give_are_named() -> None:
    llm, reads = LLM(None), Reads()
    llm.get_stats = None  # type: ignore[method-assign, assignment]
    with Witness(llm, reads) as witness:
        pass
    assert witness.resolved() == {}
    assert set(reads.unread) == {"iterations"}


def _sequence(index: int, ids: list[int], **more: Any) -> Any:
    given: dict[str, Any] = {
        "text": "x",
        "finish_reason": "length",
        "stop_reason": None,
        "cumulative_logprob": None,
        "logprobs": [],
        "prompt_logprobs": [],
        "generation_logits": None,
    }
    return SimpleNamespace(**{**given, "index": index, "token_ids": ids, **more})


def _result(number: int, *sequences: Any, **more: Any) -> Any:
    return SimpleNamespace(request_id=number, prompt_token_ids=[9, 9], outputs=list(sequences), **more)


PLAIN = SimpleNamespace(use_beam_search=False, length_penalty=None, end_id=None)


def witnessed(*steps: list[list[int]], iterations: Iterable[dict[str, Any]] = ()) -> Witness:
    witness = Witness(LLM(None), Reads())
    witness.steps, witness.iterations = list(steps), list(iterations)
    return witness


def test_results_are_told_by_prompt_and_seed() -> None:
    told = Told()
    told.take(_result(11, _sequence(0, [1, 2]), cached_tokens=32), PLAIN, prompt=1, seed=0)
    told.take(_result(12, _sequence(0, [3], finish_reason="stop")), PLAIN, prompt=0, seed=0)
    seen = told.observation(witnessed([[11, 4, 0], [12, 3, 0], [99, 1, 0]], [[11, 1, 0]]))
    assert [(item["prompt"], item["token_ids"], item["ended"]) for item in seen["outputs"]] == [
        (0, [3], True),
        (1, [1, 2], False),
    ]
    assert seen["cached"] == [{"prompt": 1, "seed": 0, "tokens": 32}]
    assert seen["scheduled"] == [{"requests": [[1, 4, 0], [0, 3, 0]]}, {"requests": [[1, 1, 0]]}]
    assert seen["forwards"] == [[2, 4], [1, 1]]


def test_what_was_not_told_is_absent() -> None:
    told = Told(frozenset({"scores"}))
    told.take(_result(1, _sequence(0, [1])), PLAIN, prompt=0, seed=0)
    seen = told.observation(witnessed())
    assert {"forwards", "scheduled", "cached", "beams", "logprobs", "logits", "steps"}.isdisjoint(seen)
    assert {"iterations", "cuda_graphs", "cache_events"}.isdisjoint(seen["resolved"])


def test_statistics_tell_of_forward_passes_where_no_step_was_seen() -> None:
    iterations = [
        {"inflightBatchingStats": {"numScheduledRequests": 2, "numCtxTokens": 9}},
        {"inflightBatchingStats": {"numScheduledRequests": 2, "numCtxTokens": 0}},
        {"inflightBatchingStats": {"numScheduledRequests": 0}},
    ]
    assert Told().observation(witnessed(iterations=iterations))["forwards"] == [[2, 9], [2, 1]]


def test_a_stop_that_a_request_asked_for_is_no_end_of_the_model_s() -> None:
    told = Told()
    told.take(_result(1, _sequence(0, [1], finish_reason="stop", stop_reason="x")), PLAIN, prompt=0, seed=0)
    assert told.outputs[0]["ended"] is False


def test_beams_come_with_what_ranks_them() -> None:
    params = SimpleNamespace(use_beam_search=True, length_penalty=1.5, end_id=2)
    first = [{5: SimpleNamespace(logprob=-0.5)}, {2: SimpleNamespace(logprob=-0.25)}]
    told = Told()
    told.take(
        _result(
            1,
            _sequence(0, [5, 2], finish_reason="stop", cumulative_logprob=-0.75, logprobs=first),
            _sequence(1, [6, 7, 8], cumulative_logprob=-2.0),
        ),
        params,
        prompt=0,
        seed=0,
    )
    (search,) = told.beams
    assert search["lengths"] == [2, 3]
    assert search["whole_lengths"] == [4, 5]
    assert search["cumulative"] == [-0.75, -2.0]
    assert search["log_probabilities"] == [-0.75, None]
    assert search["ended"] == [True, False]
    assert told.logprobs[0]["chosen"] == [-0.5, -0.25]


def test_a_token_that_upstream_lists_no_log_probability_of_is_left_out() -> None:
    others = [{6: SimpleNamespace(logprob=-0.5)}]
    told = Told()
    params = SimpleNamespace(use_beam_search=True, length_penalty=None, end_id=None)
    told.take(_result(1, _sequence(0, [5], logprobs=others)), params, prompt=0, seed=0)
    assert "chosen" not in told.logprobs[0]
    assert told.logprobs[0]["entries"] == [1]
    assert told.beams[0]["log_probabilities"] == [None]


@pytest.mark.parametrize("field", ["speculative_model", "speculative_model_dir"])
def test_a_draft_model_goes_by_the_name_that_the_version_has(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class DraftTargetDecodingConfig:
        model_fields = (field, "max_draft_len")

        def __init__(self, **fields: Any) -> None:
            self.fields = fields

    library = ModuleType("tensorrt_llm.llmapi")
    vars(library)["DraftTargetDecodingConfig"] = DraftTargetDecodingConfig
    monkeypatch.setitem(sys.modules, "tensorrt_llm", ModuleType("tensorrt_llm"))
    monkeypatch.setitem(sys.modules, "tensorrt_llm.llmapi", library)
    settings: Settings = {
        "tensorrt.speculative.decoding_type": "Draft_Target",
        "tensorrt.speculative.speculative_model": "org/name",
    }
    made = config_arguments(Declared(settings), "org/model", {}, Calls())
    assert made["speculative_config"].fields == {field: "org/name"}


def _engine(folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rank0.engine").write_bytes(b"plan")
    (folder / "config.json").write_text('{"build_config": {"max_batch_size": 8}}')
    return SimpleNamespace(
        _engine_dir=folder, llm_build_stats=SimpleNamespace(build_steps_info=[("Building TRT-LLM engine", 1)])
    )


def test_an_engine_s_files_say_whether_it_was_built(tmp_path: Path) -> None:
    reads = Reads()
    llm = _engine(tmp_path / "engine")
    built = describe_files(llm, set(), reads)
    again = describe_files(llm, engines_in(tmp_path), reads)
    assert (built["engine_built"], again["engine_built"]) == (True, False)
    assert built["engine_config"] == {"build_config": {"max_batch_size": 8}}
    assert built["build_steps"] == [["Building TRT-LLM engine", 1.0]]
    files: Any = built["engine_files"]
    assert [(item["name"], item["bytes"]) for item in files] == [("config.json", 39), ("rank0.engine", 4)]


def test_an_engine_that_tensorrt_does_not_read_is_named(tmp_path: Path) -> None:
    reads = Reads()
    describe_files(_engine(tmp_path), set(), reads)
    assert "tensorrt" in str(reads.unread["inspector"])
    assert describe_files(SimpleNamespace(), set(), reads) == {}
    assert "engine_files" in reads.unread


def _tensorrt(deserialized: Any) -> Any:
    """TensorRT's Python module, as far as it is asked."""
    module: Any = ModuleType("tensorrt")
    module.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    module.TensorIOMode = SimpleNamespace(INPUT="input")
    module.LayerInformationFormat = SimpleNamespace(JSON="json")
    module.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: deserialized)
    return module


def test_what_tensorrt_says_of_an_engine_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [{"Name": "a", "Outputs": [{"Format/Datatype": "Half"}]}, "b"]
    inspector = SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": layers}))
    engine = SimpleNamespace(
        num_io_tensors=1,
        get_tensor_name=lambda index: "input_ids",
        get_tensor_mode=lambda name: "input",
        get_tensor_dtype=lambda name: "DataType.INT32",
        get_tensor_profile_shape=lambda name, profile: [(1,), (4,), (8,)],
        num_layers=2,
        num_optimization_profiles=1,
        profiling_verbosity=SimpleNamespace(name="LAYER_NAMES_ONLY"),
        refittable=False,
        create_engine_inspector=lambda: inspector,
    )
    monkeypatch.setitem(sys.modules, "tensorrt", _tensorrt(engine))
    reads = Reads()
    found: Any = describe_files(_engine(tmp_path), set(), reads)["inspector"]
    assert found["layers"] == 2
    assert found["profile_shapes"] == {"input_ids": [[[1], [4], [8]]]}
    assert found["information"] == {"listed": 2, "detailed": True, "formats": {"Half": 1}}
    assert set(reads.unread) == {"inspector.streamable_bytes"}
    assert "streamable_bytes" not in found
    monkeypatch.setitem(sys.modules, "tensorrt", _tensorrt(None))
    describe_files(_engine(tmp_path), set(), reads)
    assert "TensorRT cannot read rank0.engine" in str(reads.unread["inspector"])


class Flag(Enum):
    """TensorRT's NetworkDefinitionCreationFlag."""

    STRONGLY_TYPED = 1


class Ids:
    """Token ids of a calibration batch."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = rows
        self.shape = (len(rows), len(rows[0]))
        self.device = SimpleNamespace(type="cuda")

    def tolist(self) -> list[list[int]]:
        return self.rows


class Calibrated:
    """A model that is calibrated: a torch module with hooks."""

    def __init__(self) -> None:
        self.hooks: list[Callable[..., Any]] = []

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, with_kwargs: bool) -> Any:
        assert with_kwargs
        self.hooks.append(hook)
        return SimpleNamespace(remove=self.hooks.clear)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        for hook in self.hooks:
            hook(self, args, kwargs)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Modules whose functions a load goes through, by name."""

    class Builder:
        def build_engine(self, network: Any, builder_config: Any) -> str:
            return "engine"

    def quantize_model(model: Any, quant_cfg: Any, calib_dataloader: Any) -> Any:
        model(Ids([[1, 2], [3, 4]]))
        model(input_ids=Ids([[5, 6, 7]]))
        return model

    made: dict[str, Any] = {
        "tensorrt_llm.builder": {"Builder": Builder},
        "tensorrt_llm.llmapi.llm_utils": {"build": lambda model, config: "built"},
        "tensorrt_llm.quantization.quantize_by_modelopt": {"quantize_model": quantize_model},
        "tensorrt": {"NetworkDefinitionCreationFlag": Flag},
    }
    modules: dict[str, Any] = {name: ModuleType(name) for name in made}
    for name, contents in made.items():
        vars(modules[name]).update(contents)
        monkeypatch.setitem(sys.modules, name, modules[name])
    for name in ("tensorrt_llm", "tensorrt_llm.llmapi", "tensorrt_llm.quantization"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return modules


def test_what_is_built_and_calibrated_is_noted_while_it_happens(upstream: dict[str, Any]) -> None:
    reads = Reads()
    building = Building(reads)
    network = SimpleNamespace(trt_network=SimpleNamespace(get_flag=lambda flag: flag is Flag.STRONGLY_TYPED))
    config = SimpleNamespace(trt_builder_config=SimpleNamespace(builder_optimization_level=3))
    weight = SimpleNamespace(raw_value=SimpleNamespace(dtype="float16", nbytes=64))
    own = Linear(weight=weight, group_size=128)
    model = SimpleNamespace(named_modules=lambda: [("up", own), ("norm", RMSNorm())])
    calibrated = Calibrated()
    builder, build, quantize = (
        upstream["tensorrt_llm.builder"].Builder,
        upstream["tensorrt_llm.llmapi.llm_utils"],
        upstream["tensorrt_llm.quantization.quantize_by_modelopt"],
    )
    before = (builder.build_engine, build.build, quantize.quantize_model)
    with building.watch(engine_path=True):
        assert quantize.quantize_model(calibrated, {}, ()) is calibrated
        assert build.build(model, None) == "built"
        assert builder().build_engine(network, builder_config=config) == "engine"
    assert (builder.build_engine, build.build, quantize.quantize_model) == before
    assert calibrated.hooks == []
    facts: Any = building.facts()
    assert facts["build"] == {"builds": 1, "strongly_typed": True, "optimization_level": 3}
    assert facts["model"]["linear_classes"] == {"Linear": 1}
    assert facts["model"]["linear_groups"] == [128]
    calibration = facts["calibration"]
    assert {name: calibration[name] for name in ("batches", "rows", "width", "devices")} == {
        "batches": 2,
        "rows": 3,
        "width": 3,
        "devices": ["cuda"],
    }
    assert reads.unread == {}


@pytest.mark.usefixtures("upstream")
def test_a_load_that_builds_nothing_says_so_and_claims_no_calibration() -> None:
    building = Building(Reads())
    with building.watch(engine_path=True):
        pass
    assert building.facts() == {"build": {"builds": 0}}


def test_functions_that_are_elsewhere_are_named_and_the_load_goes_on() -> None:
    reads = Reads()
    building = Building(reads)
    done = False
    with building.watch(engine_path=True):
        done = True
    assert done
    assert {"build", "model", "calibration"} <= set(reads.unread)
    assert building.facts() == {}, "nobody counted the builds, so there is no number of them"
