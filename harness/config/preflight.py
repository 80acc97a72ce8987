"""Pre-flight: can this config work in that environment? A pure function of the two.

Strict: what cannot work is an error, never a silent fallback. Checked are packages and their
versions, devices and compute capability, the number of devices, memory with the quantisation
applied, and the model's architecture.
"""

from collections.abc import Iterator

from harness.config import _check
from harness.config.environment import Device, EnvironmentSnapshot, version_tuple
from harness.config.experiment import ExperimentConfig
from harness.config.memory import available_bytes, gibibytes, needed_bytes, quantised_bits
from harness.config.problems import Problem
from harness.config.requirements import REQUIREMENTS, Requirement
from harness.config.rules import Values

__all__ = ["PreflightError", "preflight", "require_environment"]

_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")
_QUANTISED_LAYERS = ("Linear", "Conv1D")  # what transformers' bitsandbytes integration replaces


class PreflightError(RuntimeError):
    """A config that cannot work in an environment; ``problems`` has every reason."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(
            "; ".join(
                f"{item.path}: {item.what}: found {item.actual}, expected {item.expected}. {item.fix}"
                for item in problems
            )
        )


def preflight(config: ExperimentConfig, snapshot: EnvironmentSnapshot) -> tuple[Problem, ...]:
    """Return every reason why ``config`` cannot work, or will disappoint, in the environment."""
    values = _check.facts(config)
    devices = _devices_used(values, snapshot)
    found: list[Problem] = []
    for requirement in REQUIREMENTS:
        if config.backend in requirement.backends and requirement.applies(values):
            found += _packages(requirement, snapshot)
            found += _hardware(requirement, devices)
    found += _counts(values, snapshot)
    found += _memory(values, devices, snapshot)
    found += _architecture(values, snapshot)
    unique = {(problem.path, problem.what, problem.actual): problem for problem in found}
    return tuple(unique.values())


def require_environment(config: ExperimentConfig, snapshot: EnvironmentSnapshot) -> None:
    """Raise :class:`PreflightError` if ``config`` cannot work in the environment."""
    errors = tuple(item for item in preflight(config, snapshot) if item.severity == "error")
    if errors:
        raise PreflightError(errors)


def _devices_used(values: Values, snapshot: EnvironmentSnapshot) -> tuple[Device, ...]:
    """Return the accelerators that the config will use; none means the CPU."""
    placement = values.get("pytorch.device_map")
    if isinstance(placement, dict):
        indices = {index for item in placement.values() if (index := _index(item)) is not None}
        return tuple(device for device in snapshot.devices if device.index in indices)
    if isinstance(placement, str) and placement not in _SPREADING:
        index = _index(placement)
        return tuple(device for device in snapshot.devices if device.index == index)
    if placement in _SPREADING:
        return snapshot.devices
    if "parallelism.strategy" in values:
        return snapshot.devices[: values.get("parallelism.degree", len(snapshot.devices))]
    return snapshot.devices[:1]


def _index(placed: object) -> int | None:
    """Return the accelerator's index in a placement: 1 for ``1`` or ``"cuda:1"``, 0 for ``"cuda"``."""
    if isinstance(placed, int):
        return placed
    kind, _, number = str(placed).partition(":")
    return None if kind in ("cpu", "disk", "meta") else int(number or 0)


def _packages(requirement: Requirement, snapshot: EnvironmentSnapshot) -> Iterator[Problem]:
    for package, minimum in requirement.packages:
        wanted = f"{package}>={minimum}" if minimum else package
        found = snapshot.version_of(package)
        if found is None:
            actual = f"{package} is not installed"
        elif version_tuple(found) < version_tuple(minimum):
            actual = f"{package} {found} is installed"
        else:
            continue
        yield Problem(
            path=requirement.parameter,
            what=f"{requirement.what} requires {wanted}",
            actual=actual,
            expected=wanted,
            fix=f"pip install '{wanted}'; or {requirement.fix}",
            reason=f"Checked by {requirement.source}",
            rule=f"preflight.{requirement.id}",
        )


def _hardware(requirement: Requirement, devices: tuple[Device, ...]) -> Iterator[Problem]:
    def problem(needs: str, actual: str) -> Problem:
        return Problem(
            path=requirement.parameter,
            what=f"{requirement.what} requires {needs}",
            actual=actual,
            expected=needs,
            fix=requirement.fix,
            reason=f"Known from {requirement.source}",
            rule=f"preflight.{requirement.id}",
        )

    if requirement.accelerator and not devices:
        yield problem("a CUDA device", "no GPU is used")
    lowest = requirement.capability
    if lowest is None:
        return
    for device in devices:
        actual = device.compute_capability
        if actual is not None and actual < lowest:
            yield problem(
                f"CUDA compute capability >= {lowest[0]}.{lowest[1]}",
                f"your GPU ({device.name}) has compute capability {actual[0]}.{actual[1]}",
            )


def _counts(values: Values, snapshot: EnvironmentSnapshot) -> Iterator[Problem]:
    present = len(snapshot.devices)
    degree = values.get("parallelism.degree", 1)
    if present and degree > present:
        yield Problem(
            path="parallelism.degree",
            what="more devices asked for than there are",
            actual=f"degree {degree}, {present} GPU{'s' * (present != 1)}",
            expected=f"a degree of at most {present}",
            fix=f"set parallelism.degree={present}, or use a machine with {degree} GPUs",
            rule="preflight.device_count",
        )
    placement = values.get("pytorch.device_map", {})
    named = list(placement.values()) if isinstance(placement, dict) else []
    if isinstance(placement, str) and placement not in _SPREADING:
        named = [placement]
    limited = [key for key in values.get("pytorch.max_memory", {}) if isinstance(key, int)]
    known = {device.index for device in snapshot.devices}
    for path, places in (("pytorch.device_map", named), ("pytorch.max_memory", limited)):
        for place in places:
            if (index := _index(place)) is not None and index not in known:
                yield Problem(
                    path=path,
                    what="a device that does not exist",
                    actual=f"device {place}; the machine has {present or 'no'} GPU{'s' * (present != 1)}",
                    expected="the index of a GPU that is there, or 'cpu'",
                    fix=f"correct the device in {path}",
                    rule="preflight.device_index",
                )


def _memory(values: Values, devices: tuple[Device, ...], snapshot: EnvironmentSnapshot) -> Iterator[Problem]:
    yield from _reserved(values, devices)
    need = None if snapshot.model is None else needed_bytes(values, snapshot.model)
    free = available_bytes(devices, snapshot)
    if values.get("parallelism.strategy") == "data_parallel" and devices:
        per_device = [available_bytes((device,), snapshot) for device in devices]
        free = min((size for size in per_device if size is not None), default=None)
    if need is None or free is None or need <= free:
        return
    where = " + ".join(device.name for device in devices) or "host memory"
    everything = available_bytes(snapshot.devices, snapshot)
    spread = len(devices) < len(snapshot.devices) and everything is not None and need <= everything
    yield Problem(
        path="model",
        what="not enough free memory for the weights",
        actual=f"{gibibytes(free)} free on {where}",
        expected=f"{gibibytes(need)} (10% headroom and quantisation included)",
        fix=(
            "set pytorch.device_map='auto' to spread the model over all GPUs"
            if spread
            else "quantise (load_in_4bit), lower fp_precision, choose a smaller model or a bigger device"
        ),
        rule="preflight.memory",
    )


def _reserved(values: Values, devices: tuple[Device, ...]) -> Iterator[Problem]:
    share = values.get("vllm.gpu_memory_utilization", 0.92 if values["backend"] == "vllm" else 0.0)
    for device in devices:
        if device.memory_bytes is None or device.free_bytes is None:
            continue
        if share * device.memory_bytes > device.free_bytes:
            yield Problem(
                path="vllm.gpu_memory_utilization",
                what="vLLM refuses to start with less free memory than its share",
                actual=f"{gibibytes(device.free_bytes)} free on {device.name}",
                expected=f"{gibibytes(int(share * device.memory_bytes))} (share {share})",
                fix="lower vllm.gpu_memory_utilization, or free memory on the device",
                rule="preflight.gpu_memory_utilization",
            )


def _architecture(values: Values, snapshot: EnvironmentSnapshot) -> Iterator[Problem]:
    bits = quantised_bits(values)
    model = snapshot.model
    if bits is None or values["backend"] != "pytorch":
        return
    native = values.get(f"pytorch.load_in_{bits}bit") is True
    path = f"{'pytorch' if native else 'quantization'}.load_in_{bits}bit"
    if len(snapshot.devices) > 1 and "pytorch.device_map" not in values and "parallelism.strategy" not in values:
        yield Problem(
            path=path,
            what="a quantised model without device_map uses one GPU only",
            actual=f"{len(snapshot.devices)} GPUs, no device_map",
            expected="pytorch.device_map='auto' for multi-GPU quantisation",
            fix="set pytorch.device_map='auto'",
            severity="warning",
            rule="preflight.quantised_device_map",
        )
    if model is None:
        return
    if model.layer_types and not set(model.layer_types) & set(_QUANTISED_LAYERS):
        yield Problem(
            path=path,
            what="the model has no layer that bitsandbytes quantises",
            actual=f"layers of type {', '.join(sorted(set(model.layer_types)))}",
            expected=f"layers of type {' or '.join(_QUANTISED_LAYERS)}",
            fix="do not quantise this model: it would silently stay as it is",
            rule="preflight.layer_types",
        )
    skipped = values.get("passthrough_kwargs", {}).get("llm_int8_skip_modules")
    if isinstance(skipped, list) and model.modules:
        for name in skipped:
            if not any(str(name) in module.split(".") or str(name) == module for module in model.modules):
                yield Problem(
                    path="passthrough_kwargs",
                    what="a module to skip that the model does not have",
                    actual=f"llm_int8_skip_modules names {name!r}",
                    expected="names of the model's modules, such as 'lm_head'",
                    fix="correct the name, or remove it",
                    rule="preflight.skip_modules",
                )
