"""Why a run failed, read from how it failed. Pure: no processes, no files.

The question that matters is whose fault it was: the parameter's, the environment's or ours.
A wrong answer here is a false ❌, so whatever smells of the environment goes to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.jsontypes import JSON
from harness.verdict import Cause


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run failed, as the engine process or its host reported it."""

    phase: str
    """"load" or "generate"."""
    kind: str
    """"exception", "crashed", "timed_out", "not_forwarded" or "host_lost"."""
    type: str
    message: str
    where: str = "upstream"
    """Whose frame raised: "upstream" or "harness"."""
    traceback: str = ""
    log: str = ""
    oom_killed: bool = False

    @classmethod
    def parse(cls, facts: Mapping[str, JSON]) -> Failure:
        """From the wire."""
        text = {
            k: str(facts[k]) for k in ("phase", "kind", "type", "message", "where", "traceback", "log") if k in facts
        }
        return cls(**text, oom_killed=bool(facts.get("oom_killed", False)))

    @property
    def line(self) -> str:
        """Type and message on one line."""
        return one_line(f"{self.type}: {self.message}")


def one_line(text: str, limit: int = 300) -> str:
    """Whitespace collapsed, cut at `limit` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|can't allocate memory|cannot allocate memory|MemoryError|std::bad_alloc"
    r"|not enough memory: you tried to allocate|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_MISSING_PACKAGE = re.compile(
    # `pip install -U` is also what a message about a value it does not know advises: not by itself a sign
    r"No module named|requires? (?:the )?`?[\w.-]+`? (?:library|package)\b|not installed"
    r"|pip install (?!-U\b|--upgrade\b)"
    r"|package .* (?:seems|could not be found|is not available)|needs to be installed|requires the following packages"
    r"|requires? `?accelerate\b",
    re.IGNORECASE,
)
_MISSING_HARDWARE = re.compile(
    r"no (?:CUDA )?GPUs? (?:are|is) available|CUDA (?:is not available|driver)|not compiled with CUDA"
    r"|(?:an?|on|only|single|one|expected|invalid|NVIDIA|Blackwell) CUDA device|No GPU found|number of available GPUs"
    r"|accelerator device when none|invalid device ordinal|Found no NVIDIA driver|compute capability"
    r"|requires? (?:an? )?(?:NVIDIA )?(?:GPU|CUDA|accelerator)s?\b(?! graph)"
    r"|only (?:supported|available|works?) on (?:NVIDIA )?(?:GPU|CUDA)|no accelerator"
    r"|FlashAttention only supports|torch not compiled|without CUDA|kernel image is available",
    re.IGNORECASE,
)
_MISSING_MODEL = re.compile(
    r"is not a local folder and is not a valid model identifier|We couldn't connect to|LocalEntryNotFound"
    r"|Repository Not Found|does not appear to have (?:a file named|files named)|gated repo|offline mode",
    re.IGNORECASE,
)
_BROKEN_LIBRARY = re.compile(
    r"cannot open shared object file|undefined symbol|GLIBC(?:XX)?_\d|No space left on device|ENOSPC"
)
# A tool's name alone proves nothing (it may be the value): it has to be said to be missing, or to have failed.
_TOOL = r"(?<![\w'\"])(?:ninja|nvcc|gcc|clang|cc1plus|[cg]\+\+|c compiler|c\+\+ compiler|nvidia-smi|cmake)(?![\w+])"
_ENVIRONMENT = re.compile(
    rf"{_BROKEN_LIBRARY.pattern}|Permission denied|Read-only file system|Disk quota exceeded|Input/output error"
    rf"|{_TOOL}.{{0,40}}(?:not found|not be found|is required|is missing|not available|failed|No such file|cannot)"
    rf"|(?:No working|not find|to find|requires?|Failed to run|install|missing) .{{0,30}}{_TOOL}"
    r"|No such file or directory: '?(?:ninja|nvcc|gcc|cc|clang|[cg]\+\+)\b"
    r"|Command .{0,60}\b(?:gcc|g\+\+|cc|clang|nvcc|ninja)'.*non-zero exit"
    r"|InvalidCxxCompiler|CppCompileError|fatal error: .{1,80}: No such file|CUDA_HOME|libcuda\.so cannot"
    r"|command not found"
    r"|Connection (?:refused|reset|aborted|timed out)|Name or service not known|Temporary failure in name resolution"
    r"|Could not resolve host|Max retries exceeded|CERTIFICATE_VERIFY_FAILED|outgoing traffic has been disabled"
    r"|Too Many Requests|Network is unreachable|Address already in use|Too many open files|NCCL error"
    r"|driver version is insufficient",
    re.IGNORECASE | re.DOTALL,
)


def is_out_of_memory(failure: Failure) -> bool:
    """True for allocator errors and for the kernel's out-of-memory killer."""
    return failure.oom_killed or bool(_OUT_OF_MEMORY.search(f"{failure.type} {failure.message}"))


def outside_cause(failure: Failure) -> Cause | None:
    """The cause when the failure is not the parameter's doing, else None."""
    if failure.where == "harness" or failure.kind == "not_forwarded":
        return Cause.HARNESS_ERROR
    if failure.kind == "host_lost":
        return Cause.ENVIRONMENT
    if failure.kind == "crashed" and _BROKEN_LIBRARY.search(failure.log):
        return Cause.ENVIRONMENT
    text = f"{failure.type}: {failure.message}"
    for pattern, cause in (
        (_ENVIRONMENT, Cause.ENVIRONMENT),
        (_MISSING_PACKAGE, Cause.MISSING_PACKAGE),
        (_MISSING_MODEL, Cause.MISSING_MODEL),
        (_MISSING_HARDWARE, Cause.MISSING_HARDWARE),
    ):
        if pattern.search(text):
            return cause
    if failure.type.split(".")[-1] in {"ImportError", "ModuleNotFoundError", "PackageNotFoundError"}:
        return Cause.MISSING_PACKAGE
    return None


def blamed_cause(failure: Failure) -> Cause:
    """The cause of a failure that has been shown to be the parameter's."""
    if is_out_of_memory(failure):
        return Cause.OUT_OF_MEMORY
    return {"crashed": Cause.CRASHED, "timed_out": Cause.TIMED_OUT}.get(failure.kind, Cause.REJECTED)
