"""vLLM's recorded calls as a script: `LLM`, with the engine core in the process that asks."""

from __future__ import annotations

from harness.backends.vllm.backend import CPU_ENVIRONMENT, ENVIRONMENT
from harness.repro.shapes import COUNT, Form, Logits, Shape

_STREAMED = "it streams from the asynchronous engine, with a task for each prompt"
_PACED = "its requests are handed over at set moments, while others are in flight"

_FIRST = '''
def first(result):
    """Token ids and text of the first sequence that came back for a prompt."""
    if hasattr(result, "outputs"):
        return result.outputs[0].token_ids, result.outputs[0].text
    beam = result.sequences[0]
    return beam.tokens[len(beam.tokens) - len(beam.logprobs) :], beam.text
'''
_ASK = '''
def ask(llm, question):
    """What the first worker's model runner answers."""
    return llm.collective_rpc(lambda worker: question(worker.model_runner))[0]
'''
_ATTENTION = '''
def attention(runner):
    """The backend of each layer that attends."""
    layers = runner.vllm_config.compilation_config.static_forward_context.values()
    return [layer.attn_backend.get_name() for layer in layers if hasattr(layer, "impl")]
'''
_METHODS = '''
def methods(runner):
    """How each layer with weights computes."""
    found = [m for m in runner.model.modules() if getattr(m, "quant_method", None) is not None]
    weights = ("weight", "qweight", "output_size")
    return [type(m.quant_method).__name__ for m in found if any(hasattr(m, w) for w in weights)]
'''
_EPSILONS = """
def epsilons(runner):
    modules = runner.model.modules()
    return sorted({float(m.variance_epsilon) for m in modules if hasattr(m, "variance_epsilon")})
"""
_BLOCKS = """
def block_sizes(runner):
    groups = runner.kv_cache_config.kv_cache_groups
    return sorted({group.kv_cache_spec.block_size for group in groups})
"""
_KEEP = '''
def keep_logits(llm):
    """Have the model's logits kept as they are made."""

    def keep(runner):
        compute, runner.kept = runner.model.compute_logits, []

        def compute_logits(*args, **kwargs):
            logits = compute(*args, **kwargs)
            runner.kept.append(logits.float().tolist())
            return logits

        runner.model.compute_logits = compute_logits

    ask(llm, keep)
'''
_CORE = '''
def core(llm):
    """The engine core, in this process."""
    return llm.llm_engine.engine_core.engine_core
'''

SHAPE = Shape(
    forms={
        "LLM": Form("LLM", "llm = "),
        "LLM.generate": Form("llm.generate", "results += "),
        "LLM.beam_search": Form("llm.beam_search", "results += "),
    },
    modules={
        "LLM": "vllm",
        "SamplingParams": "vllm",
        "BeamSearchParams": "vllm.sampling_params",
        "StructuredOutputsParams": "vllm.sampling_params",
        "LoRARequest": "vllm.lora.request",
    },
    model=("LLM", "model"),
    begins=frozenset({"SamplingParams", "BeamSearchParams"}),
    prompts=frozenset({"LLM.generate", "LLM.beam_search"}),
    before=("results = []",),
    after=("outputs, text = zip(*[first(result) for result in results])",),
    logits=Logits(before=("keep_logits(llm)",), after=("logits = ask(llm, lambda r: r.kept[0])",)),
    helpers={
        "count": COUNT,
        "first": _FIRST,
        "keep_logits": _KEEP,
        "ask": _ASK,
        "attention": _ATTENTION,
        "methods": _METHODS,
        "epsilons": _EPSILONS,
        "block_sizes": _BLOCKS,
        "core": _CORE,
    },
    at_load={
        "attention_backends": "count(ask(llm, attention))",
        "compilation.mode": "ask(llm, lambda r: r.vllm_config.compilation_config.mode.name)",
        "config_module": "ask(llm, lambda r: type(r.vllm_config.model_config.hf_config).__module__)",
        "executor_class": "type(core(llm).model_executor).__name__",
        "kv_cache.block_size": "ask(llm, block_sizes)",
        "kv_cache.blocks": "ask(llm, lambda r: r.kv_cache_config.num_blocks)",
        "kv_cache.bytes": "ask(llm, lambda r: sum(cache.nbytes for cache in r.kv_caches))",
        "kv_cache.dtypes": "ask(llm, lambda r: sorted({str(cache.dtype) for cache in r.kv_caches}))",
        "max_model_len": "ask(llm, lambda r: r.max_model_len)",
        "model_class": "ask(llm, lambda r: type(r.model).__name__)",
        "model_module": "ask(llm, lambda r: type(r.model).__module__)",
        "norm_epsilons": "ask(llm, epsilons)",
        "parameter_devices": "ask(llm, lambda r: count(p.device for p in r.model.parameters()))",
        "parameter_dtypes": "ask(llm, lambda r: count(p.dtype for p in r.model.parameters()))",
        "quant_methods": "count(ask(llm, methods))",
        "scheduler.class": "type(core(llm).scheduler).__name__",
        "scheduler.max_num_running_reqs": "core(llm).scheduler.max_num_running_reqs",
        "scheduler.max_num_scheduled_tokens": "core(llm).scheduler.max_num_scheduled_tokens",
        "scheduler.waiting": "type(core(llm).scheduler.waiting).__name__",
        "weight_bytes": "ask(llm, lambda r: sum(p.nbytes for p in r.model.parameters()))",
    },
    refused={"AsyncEngineArgs": _STREAMED, "LLM.enqueue": _PACED},
    environment={**ENVIRONMENT, "VLLM_LOGGING_LEVEL": "ERROR"},
    environment_on_cpu=CPU_ENVIRONMENT,
)
