"""What lies behind a backend's cells: its libraries, the model, the machine, our adapter, and the environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from harness.backends import MODULES
from harness.fingerprint.sources import closure
from harness.fingerprint.values import FOLLOWED_ELSEWHERE
from harness.jsontypes import JSON
from harness.project import Project
from harness.variants import model_hash

JUDGING: Final = ("harness.experiment", "harness.evidence", "harness.worker")
"""What runs and judges a cell, and what that imports: not the pages, the commands, the store."""

REACHES: Final = (
    "VLLM_",
    "TORCH",
    "PYTORCH_",
    "TRANSFORMERS_",
    "ACCELERATE_",
    "HF_",
    "HUGGINGFACE_",
    "SAFETENSORS_",
    "TOKENIZERS_",
    "TRITON_",
    "TENSORRT_",
    "TLLM_",
    "TRTLLM_",
    "CUDA_",
    "CUBLAS_",
    "CUDNN_",
    "NVIDIA_",
    "NCCL_",
    "GLOO_",
    "UCX_",
    "OMPI_",
    "BNB_",
    "BITSANDBYTES_",
    "FLASH_ATTENTION_",
    "FLASHINFER_",
    "XFORMERS_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "DNNL_",
    "ONEDNN_",
    "OPENBLAS_",
    "MALLOC_",
    "GLIBC_",
    "LD_",
    "PYTHONPATH",
    "PYTHONOPTIMIZE",
)
"""How the names of environment variables begin that reach upstream libraries and change what they do."""

ALLOTTED: Final = frozenset({"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"})
"""Which GPUs a scheduler gave: they are among the facts of the machine, and which of equal ones decides nothing."""

_SECRET: Final = re.compile("TOKEN|SECRET|PASSWORD|CREDENTIAL|API_KEY|AUTH")
_NO_SECRET: Final = re.compile("TOKENIZERS?_")
_GPU: Final = ("name", "memory_bytes", "compute_capability", "driver")
_MACHINE: Final = ("python", "build", "platform", "cpu", "cpus", "contents")


@dataclass(frozen=True, slots=True)
class Upstream:
    """What cells of one backend and model share."""

    digest: str
    untold: str | None
    """Why nobody can tell whether it changed; None where that can be told."""

    @classmethod
    def of(cls, project: Project, backend: str, model: str, snapshot: Mapping[str, JSON] | str) -> Self:
        """Of a backend that loads `model`; `snapshot` is what its interpreter says of itself, or why it is silent."""
        local = project.configured(backend) is None
        told, untold = _model(model, local=local)
        parts: dict[str, JSON] = {
            "adapter": closure([MODULES[backend], *JUDGING], without=FOLLOWED_ELSEWHERE),
            "model": told,
            "limits": asdict(project.limits),
            "launcher": _launcher(project, backend),
            "environment": environment(os.environ),
        }
        if isinstance(snapshot, str):
            # no cell is run: only the reason decides, and it was asked for just now
            parts["unavailable"], untold = snapshot, None
        else:
            parts["machine"] = machine(snapshot)
            untold = untold or _unknown(snapshot)
        text = json.dumps(parts, sort_keys=True)
        return cls(hashlib.sha256(text.encode()).hexdigest()[:32], untold)


def machine(snapshot: Mapping[str, JSON]) -> dict[str, JSON]:
    """Of a snapshot what a verdict may depend on: not which of equal GPUs it was, nor how much memory was free."""
    gpus, memory = snapshot.get("gpus"), snapshot.get("memory_bytes")
    return {
        **{name: snapshot.get(name) for name in _MACHINE},
        # the kernel keeps some of it back, and never quite as much
        "memory_gib": round(memory / (1 << 30)) if isinstance(memory, int) else None,
        "gpus": [{name: gpu.get(name) for name in _GPU} for gpu in gpus if isinstance(gpu, dict)]
        if isinstance(gpus, list)
        else [],
    }


def environment(variables: Mapping[str, str]) -> str:
    """A digest of the variables that reach upstream. Secrets stay out: they open doors, and decide nothing."""
    reaching = {
        name: value
        for name, value in variables.items()
        if name.startswith(REACHES) and name not in ALLOTTED and not _SECRET.search(_NO_SECRET.sub("", name))
    }
    return hashlib.sha256(json.dumps(reaching, sort_keys=True).encode()).hexdigest()


def _launcher(project: Project, backend: str) -> list[JSON]:
    """The command, as seen from the project, which may lie anywhere."""
    root = f"{project.root}{os.sep}"
    return [word.removeprefix(root) for word in project.launcher(backend).command]


def _model(model: str, *, local: bool) -> tuple[str, str | None]:
    """What tells a model from another one; and why that cannot be told."""
    if found := model_hash(Path(model)):
        return found, None
    if not local:
        return model, f"the launcher decides which revision of {model} is loaded"
    if revisions := _revisions(model):
        return json.dumps([model, revisions]), None
    return model, f"no local hub cache says which revision of {model} is loaded"


def _revisions(model: str) -> dict[str, str]:
    """The commits that the local hub cache resolves a hub id to, by branch or tag.

    Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    refs = cache / f"models--{model.replace('/', '--')}" / "refs"
    try:
        return {
            path.relative_to(refs).as_posix(): path.read_text().strip()
            for path in sorted(refs.rglob("*"))
            if path.is_file()
        }
    except (OSError, ValueError):
        return {}


def _unknown(snapshot: Mapping[str, JSON]) -> str | None:
    if not snapshot.get("contents"):
        return "its interpreter does not say what is installed"
    unknown = snapshot.get("unknown")
    if isinstance(unknown, list) and unknown:
        return f"nobody can tell whether the files of {', '.join(map(str, unknown))} changed: pip keeps no list of them"
    return None
