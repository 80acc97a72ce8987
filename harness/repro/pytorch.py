"""PyTorch's recorded calls as a script: transformers' `from_pretrained` and `generate`."""

from __future__ import annotations

from dataclasses import replace

from harness.repro.shapes import COUNT, Form, Logits, Shape

_GROUP = "it takes a group of several processes, which find each other through a file"

_NEW_TOKENS = '''
def new_tokens(model, inputs, result):
    """Token ids that were generated for each prompt, up to the end of the text."""
    rows = getattr(result, "sequences", result)
    rows = rows.reshape(-1, rows.shape[-1])[:, inputs["input_ids"].shape[1] :].tolist()
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    found = []
    for row in rows[:: len(rows) // len(inputs["input_ids"])]:
        length = next((place for place, token in enumerate(row, 1) if token in ends), len(row))
        found.append(row[:length])
    return found
'''
_ATTENTION = """
def attention(model):
    return [layer.self_attn.config._attn_implementation for layer in model.model.layers]
"""
_LINEARS = """
def linears(model):
    return [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
"""
_QUANTIZED = '''
def quantized(model, read):
    """What `read` makes of the layers of bitsandbytes, if it is one and the same."""
    modules = [m for m in model.modules() if type(m).__module__.startswith("bitsandbytes")]
    found = {read(module) for module in modules}
    return found.pop() if len(found) == 1 else found
'''

_GENERATE = Form(
    "model.generate", "result = ", inputs="**inputs", then=("outputs += new_tokens(model, inputs, result)",)
)

_CACHE = '''
def cache(result, read):
    """What `read` makes of the cache that generation filled, None where it is not handed out."""
    found = getattr(result, "past_key_values", None)
    return None if found is None else read(found)
'''
_LAYERS = """
def layers(cache):
    return count(type(layer).__name__ for layer in cache.layers)
"""

SHAPE = Shape(
    forms={
        "AutoTokenizer.from_pretrained": Form(
            "AutoTokenizer.from_pretrained",
            "tokenizer = ",
            then=("tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token",),
        ),
        "AutoModelForCausalLM.from_pretrained": Form("AutoModelForCausalLM.from_pretrained", "model = "),
        "model.to": Form("model.to"),
        "torch.compile": Form("torch.compile", "model.forward = ", first="model.forward"),
        "transformers.set_seed": Form("set_seed"),
        "tokenizer": Form("tokenizer", "inputs = ", suffix=".to(model.device)"),
        "generate": _GENERATE,
    },
    modules={
        "AutoModelForCausalLM": "transformers",
        "AutoTokenizer": "transformers",
        "BitsAndBytesConfig": "transformers",
        "CompileConfig": "transformers",
        "ContinuousBatchingConfig": "transformers",
        "set_seed": "transformers",
        "torch": "",
    },
    model=("AutoTokenizer.from_pretrained", 0),
    begins=frozenset({"transformers.set_seed"}),
    prompts=frozenset({"tokenizer"}),
    before=("outputs = []",),
    after=("text = tokenizer.batch_decode(outputs, skip_special_tokens=True)",),
    logits=Logits(
        before=("logits = []",),
        forms={
            "generate": replace(
                _GENERATE,
                more={"output_logits": True},
                then=(*_GENERATE.then, "logits += result.logits[0].float().tolist()"),
            )
        },
    ),
    helpers={
        "cache": _CACHE,
        "layers": _LAYERS,
        "attention": _ATTENTION,
        "count": COUNT,
        "linears": _LINEARS,
        "new_tokens": _NEW_TOKENS,
        "quantized": _QUANTIZED,
    },
    at_load={
        "attention_implementation": "count(attention(model))",
        "device_map": "model.hf_device_map",
        "footprint_bytes": "model.get_memory_footprint()",
        "head_class": "type(model.get_output_embeddings()).__name__",
        "linear_classes": "count(type(m).__name__ for m in linears(model))",
        "model_module": "type(model).__module__",
        "parameter_devices": "count(p.device for p in model.parameters())",
        "parameter_dtypes": "count(p.dtype for p in model.parameters())",
        "quantized_layer.class": "quantized(model, lambda m: type(m).__name__)",
        "quantized_layer.compute_dtype": "quantized(model, lambda m: str(m.compute_dtype))",
        "quantized_layer.nested": "quantized(model, lambda m: m.weight.quant_state.nested)",
        "quantized_layer.quant_type": "quantized(model, lambda m: m.weight.quant_state.quant_type)",
    },
    at_end={
        "caches.0.class": "cache(result, lambda found: type(found).__name__)",
        "caches.0.layers": "cache(result, layers)",
    },
    refused={"torch.distributed.init_process_group": _GROUP, "process": _GROUP},
)
