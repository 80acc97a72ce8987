"""What an engine was loaded from and built of: files, formats, quantisers, code."""

from __future__ import annotations

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from harness.judge import relative_error
from matrix.probes.outputs import other_tokens
from matrix.probes.readback import MODULES, listed, probe
from matrix.probes.scores import number
from matrix.probes.state import NOTHING, names
from matrix.variants.remote_code import HEARD
from matrix.variants.weights import ANSWERS

_FILES = {
    "auto": "model.safetensors",
    "safetensors": "model.safetensors",
    "hf": "model.safetensors",
    "pt": "model.pt",
    "npcache": "pytorch_model.bin",
    "sharded_state": "model-rank-0-part-0.safetensors",
    "mistral": "consolidated.safetensors",
}
"""Value to the file that it reads, of those that the variants hold. Each file answers a sum differently."""


def _loader(run: Seen, control: Seen, value: JSON) -> Shown:
    """The first prompt is answered as only that format's weights do; dummy weights answer as none of them."""
    del control
    answer = run.observation["outputs"][0]["text"]
    loads = listed(run.read_back.get("loads"))
    load = loads[0] if loads and isinstance(loads[0], dict) else {}
    if value == "dummy":
        fine = answer not in ANSWERS.values() and load.get("loader") == "DummyModelLoader"
    else:
        fine = answer == ANSWERS[_FILES[str(value)]]
    known = next((file for file, text in ANSWERS.items() if text == answer), "no file")
    return Shown(fine, f"{load.get('loader')} ran; the answer {answer.strip()!r} is that of {known}")


def _strategy(run: Seen, control: Seen, value: JSON) -> Shown:
    """How weight files were opened: mapped (lazy, prefetch) or read whole (eager)."""
    del control
    loads = run.observation["loading"]
    load = loads[0] if loads else {}
    ways = [str(way) for way in listed(load.get("opened"))]
    fine = ways == (["load"] if value == "eager" else ["safe_open"])
    return Shown(fine, f"weight files were opened by {', '.join(ways) or 'nothing that is watched'}")


_METHODS: dict[str, tuple[str, ...]] = {
    "awq": ("AWQ", "CPUWNA16", "AutoAWQ"),
    "gptq": ("GPTQ", "CPUWNA16", "AutoGPTQ"),
    "fp8": ("Fp8LinearMethod", "Fp8PerTensor"),
    "compressed-tensors": ("CompressedTensors",),
    "fp8_per_channel": ("Fp8Ptpc",),
}
"""Value to how the names of the live classes that do the work begin."""


def _quantised(run: Seen, control: Seen, value: JSON) -> Shown:
    """None: layers compute with plain weights. Else: with the method's classes, and other logits."""
    classes = names(run.read_back.get("quant_methods"))
    linear = [name for name in classes if "Embedding" not in name]
    error = relative_error(run, control)
    if value is None:
        fine = linear == ["UnquantizedLinearMethod"]
    else:
        fine = bool(linear) and all(name.startswith(_METHODS[str(value)]) for name in linear)
    return Shown(
        fine and error > NOTHING, f"linear layers compute by {', '.join(linear)}, logits differ by {error:.2g}"
    )


def _implementation(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    module, name = str(run.read_back.get("model_module")), str(run.read_back.get("model_class"))
    wrapped = module.startswith("vllm.model_executor.models.transformers") or name.startswith("Transformers")
    layers = {kind: n for kind, n in run.observation["modules"].items() if kind.endswith("DecoderLayer")}
    theirs = all(kind.startswith("transformers.") for kind in layers)
    wanted = value == "transformers"
    called = ", ".join(f"{kind} {n} times" for kind, n in layers.items())
    return Shown(bool(layers) and wrapped is theirs is wanted, f"the model is {name} of {module}; called: {called}")


def _overridden(run: Seen, control: Seen, value: JSON) -> Shown:
    """The layers compute with the field's value, and other logits come out."""
    assert isinstance(value, dict)
    wanted = number(value["rms_norm_eps"])
    found = run.read_back.get("norm_epsilons")
    error = relative_error(run, control)
    return Shown(
        found == [wanted] and error > NOTHING, f"norm layers have epsilon {found}, logits differ by {error:.2g}"
    )


def _remote(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    module = str(run.read_back.get("config_module"))
    return Shown(module.startswith("transformers_modules.") is bool(value), f"the model's config comes from {module}")


def _remote_answers(run: Seen, control: Seen, value: JSON) -> Shown:
    """The checkpoint's own code sets the layers' epsilon, and other logits come out (False: it does not)."""
    shown = _remote(run, control, value)
    found = listed(run.read_back.get("norm_epsilons"))
    error = relative_error(run, control)
    fine = shown.holds and (found == [HEARD]) is bool(value) and error > NOTHING
    return Shown(fine, f"{shown.saw}, norm layers have epsilon {found}, logits differ by {error:.2g}")


def _seeded(run: Seen, control: Seen, value: JSON) -> Shown:
    """The worker's generator starts from the seed, and requests without a seed draw other tokens than the control's."""
    shown = other_tokens(run, control, value)
    found = run.read_back.get("torch_seed")
    steps = run.observation["scheduled"]
    own = sum(1 for step in steps if step.get("seeded"))
    return Shown(
        found == value and shown.holds and bool(steps) and own == 0,
        f"the generator's seed is {found}; {shown.saw}; in {own} of {len(steps)} steps a request had a seed of its own",
    )


def _bitsandbytes(run: Seen, control: Seen, value: JSON) -> Shown:
    """Every linear layer computes by bitsandbytes (False: none does)."""
    del control
    classes = [name for name in names(run.read_back.get("quant_methods")) if "Embedding" not in name]
    there = {"BitsAndBytes" in name for name in classes}
    return Shown(there == {bool(value)}, f"linear layers compute by {', '.join(classes)}")


load_format = probe("that loader ran, and its weights answer otherwise than the control's", _loader)
load_strategy = probe("weight files were opened that way when they were read", _strategy)
quantization = probe(
    "layers compute by the method's classes (None: plainly), and logits show it", _quantised, logits=True
)
model_impl = probe("decoder layers of that implementation are called", _implementation, instruments=MODULES)
hf_overrides = probe("layers are built from the field, and logits show it", _overridden, logits=True)
remote_code = probe("the model's config is the checkpoint's own code (False: the library's)", _remote)
remote_answers = probe(
    "the checkpoint's own code sets the layers' epsilon (False: it does not), and logits show it",
    _remote_answers,
    logits=True,
)
seed = probe("the worker's generator starts from the seed, and draws other tokens for requests that have none", _seeded)
bitsandbytes = probe("linear layers compute by bitsandbytes (False: plainly)", _bitsandbytes)
