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
    """The kernel's out-of-memory killer struck meanwhile."""
    root: str = ""
    """What another process said, where the error only points at it; see `harness.rootcause`."""
    child_died: bool = False
    """A process that the engine had started ended without raising anything."""

    @classmethod
    def parse(cls, facts: Mapping[str, JSON]) -> Failure:
        """From the wire."""
        names = ("phase", "kind", "type", "message", "where", "traceback", "log", "root")
        text = {name: str(facts[name]) for name in names if name in facts}
        return cls(
            **text, oom_killed=bool(facts.get("oom_killed", False)), child_died=bool(facts.get("child_died", False))
        )

    @property
    def said(self) -> str:
        """What tells whose fault it was: the root cause, else type and message."""
        return self.root or f"{self.type}: {self.message}"

    @property
    def line(self) -> str:
        """What was said, on one line; of a crash also how the process ended."""
        ended = f"{self.type}: {self.message}: " if self.root and self.kind == "crashed" else ""
        return one_line(ended + self.said)


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
    r"|Repository Not Found|Cannot find any model weights|does not appear to have (?:a file named|files named)"
    r"|gated repo|offline mode",
    re.IGNORECASE,
)
_BROKEN_LIBRARY = re.compile(
    r"cannot open shared object file|undefined symbol|(?:GLIBC(?:XX)?|CXXABI)_\d|No space left on device|ENOSPC"
    r"|static TLS block|invalid ELF header|wrong ELF class|failed to map segment from shared object|file too short$"
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
    r"|command not found|returned non-zero exit status 12[67]\b"
    r"|Connection (?:refused|reset|aborted|timed out)|Name or service not known|Temporary failure in name resolution"
    r"|Could not resolve host|Max retries exceeded|CERTIFICATE_VERIFY_FAILED|outgoing traffic has been disabled"
    r"|Too Many Requests|Network is unreachable|Address already in use|Too many open files|NCCL error"
    r"|driver version is insufficient|Driver/library version mismatch|(?:initialize|load) NVML|NVML.{0,20}not found"
    r"|forward compatibility was attempted|system not yet initialized|uncorrectable ECC|fallen off the bus"
    r"|Operation not permitted|Stale file handle|insufficient shared memory|PytorchStreamWriter failed writing"
    r"|\(os error (?:1|5|13|24|28|30|122)\)|cannot find -l\w|unable to execute '|file not found\b.{0,40}#include"
    r"|No route to host|Network is down|Host is down|Read timed out|Connect(?:ion)? ?timeout",
    re.IGNORECASE | re.DOTALL,
)
_BY_TYPE = {
    **dict.fromkeys(("ImportError", "ModuleNotFoundError", "PackageNotFoundError"), Cause.MISSING_PACKAGE),
    **dict.fromkeys(
        (
            *("PermissionError", "FileExistsError", "NotADirectoryError", "IsADirectoryError", "BlockingIOError"),
            *(
                "ConnectionError",
                "ConnectionRefusedError",
                "ConnectionResetError",
                "ConnectionAbortedError",
                "gaierror",
            ),
        ),
        Cause.ENVIRONMENT,
    ),
}
"""Types that tell by themselves. A folder that is a file, as only the operating system says it, is no value's doing."""
_OF_A_VALUE = {"ValueError", "TypeError", "KeyError", "ValidationError", "NotImplementedError", "InvalidBackend"}
"""Types that speak of a value: what they quote is the value, or what it may be."""
_QUOTED = re.compile(r"""(?<!\w)'[^'\n]*'(?!\w)|"[^"\n]*\"""")
_MEMORY_SHORT = re.compile(
    r"\(\d[\d.]*/(?P<total>\d+(?:\.\d+)?) GiB\).{0,60}\bis less than (?:desired|requested)\b"
    r".{0,80}?\b(?P<wanted>\d+(?:\.\d+)?) GiB\)",
    re.DOTALL,
)
"""vLLM measures first: `Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired …`."""


def _memory_short(text: str) -> Cause | None:
    """Refused for memory: taken by others right now, or more than there is."""
    found = _MEMORY_SHORT.search(text)
    if found is None:
        return None
    return Cause.OUT_OF_MEMORY if float(found["wanted"]) > float(found["total"]) else Cause.ENVIRONMENT


def short_of_memory(failure: Failure) -> bool:
    """True where the library found too little memory free right now, which an engine kept for later may hold."""
    return _memory_short(failure.said) is Cause.ENVIRONMENT


def is_out_of_memory(failure: Failure) -> bool:
    """True for allocator errors, for the kernel's out-of-memory killer, and for more than the machine has."""
    if failure.oom_killed and (failure.kind == "crashed" or failure.child_died):
        return True
    return bool(_OUT_OF_MEMORY.search(failure.said)) or _memory_short(failure.said) is Cause.OUT_OF_MEMORY


def outside_cause(failure: Failure) -> Cause | None:
    """The cause when the failure is not the parameter's doing, else None."""
    if failure.where == "harness" or failure.kind == "not_forwarded":
        return Cause.HARNESS_ERROR
    died = failure.kind == "crashed" or failure.child_died
    if failure.kind == "host_lost" or (died and _BROKEN_LIBRARY.search(failure.log)):
        return Cause.ENVIRONMENT
    text = failure.said
    kind = text.partition(":")[0].split(".")[-1]
    if short := _memory_short(text):
        return short if short is Cause.ENVIRONMENT else None
    if kind in _OF_A_VALUE:
        text = _QUOTED.sub("…", text)
    for pattern, cause in (
        (_ENVIRONMENT, Cause.ENVIRONMENT),
        (_MISSING_PACKAGE, Cause.MISSING_PACKAGE),
        (_MISSING_MODEL, Cause.MISSING_MODEL),
        (_MISSING_HARDWARE, Cause.MISSING_HARDWARE),
    ):
        if pattern.search(text):
            return cause
    return _BY_TYPE.get(kind)


def blamed_cause(failure: Failure) -> Cause:
    """The cause of a failure that has been shown to be the parameter's."""
    if is_out_of_memory(failure):
        return Cause.OUT_OF_MEMORY
    if failure.child_died:
        return Cause.CRASHED
    return {"crashed": Cause.CRASHED, "timed_out": Cause.TIMED_OUT}.get(failure.kind, Cause.REJECTED)
