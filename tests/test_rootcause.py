"""Errors that point elsewhere, judged by what real processes printed.

The logs are vLLM's own (CPU build, several processes), less INFO lines and with shorter paths.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import rootcause
from harness.failure import Failure, blamed_cause, outside_cause
from harness.verdict import Cause

LOGS = Path(__file__).with_name("logs")
CORE = (
    "RuntimeError",
    "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
)
WORKER = (
    "Exception",
    "WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause.",
)
DEAD = (
    "vllm.v1.engine.exceptions.EngineDeadError",
    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
)


def log(name: str) -> str:
    return (LOGS / f"vllm-0.32.0-{name}.log").read_text(encoding="utf-8")


def judged(kind: str, message: str, text: str) -> Failure:
    """A failure as the host completes it."""
    root = rootcause.find(kind, message, text)
    found = (root.text, root.died) if root else ("", False)
    return Failure("load", "exception", kind, message, log=text[-4000:], root=found[0], child_died=found[1])


@pytest.mark.parametrize(
    ("name", "error", "cause", "line"),
    [
        ("block-size", CORE, Cause.REJECTED, "ValueError: No common block size for 7 (CPU_ATTN: [MultipleOf(32)])."),
        ("cache-too-small", CORE, Cause.REJECTED, "ValueError: No available memory for the cache blocks. Try"),
        ("memory-taken", CORE, Cause.ENVIRONMENT, "ValueError: Available memory on node 0 (13.71/15.09 GiB) on"),
        (
            "cache-beyond-the-machine",
            CORE,
            Cause.OUT_OF_MEMORY,
            "ValueError: Available memory on node 0 (13.61/15.09 GiB) on kv cache allocation is less than requested",
        ),
        (
            "no-compiler",
            CORE,
            Cause.ENVIRONMENT,
            "torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found",
        ),
        ("no-weights", WORKER, Cause.MISSING_MODEL, "RuntimeError: Cannot find any model weights with `/models/tiny`"),
        ("worker-killed", DEAD, Cause.CRASHED, "Worker proc VllmWorker-0 died unexpectedly (exit code: None)"),
        (
            "worker-killed-tensor-parallel",
            ("RuntimeError", "cancelled"),
            Cause.CRASHED,
            "Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.",
        ),
    ],
)
def test_the_process_that_failed_says_whose_fault_it_was(
    name: str, error: tuple[str, str], cause: Cause, line: str
) -> None:
    failure = judged(*error, log(name))
    assert failure.line.startswith(line)
    assert (outside_cause(failure) or blamed_cause(failure)) is cause


@pytest.mark.parametrize("name", sorted(path.stem.partition("0.32.0-")[2] for path in LOGS.glob("vllm-0.32.0-*.log")))
def test_an_error_that_speaks_for_itself_is_not_looked_up(name: str) -> None:
    failure = judged("ValueError", "block_size must be a multiple of 16", log(name))
    assert failure.line == "ValueError: block_size must be a multiple of 16"
    assert outside_cause(failure) is None
    assert blamed_cause(failure) is Cause.REJECTED


WARNINGS = """\
Triton is installed, but doesn't include CPU backend. Disabling Triton.
(EngineCore pid=1) WARNING 11-21 06:33:37 [cpu.py:224] Triton is not installed. triton-cpu is expected on x86 CPUs.
(Worker pid=2) WARNING 11-21 06:30:01 [cpu_worker.py:114] libtcmalloc is not found in LD_PRELOAD. For best performance
/site-packages/torch/utils/cpp_extension.py:117: UserWarning: ninja is not found; No module named 'ninja'
(Worker pid=2) ERROR 11-21 06:30:02 [multiproc_executor.py:953] WorkerProc failed to start.
"""
REFUSED = "(Worker pid=2) ERROR 11-21 06:30:02 [w.py:9] Traceback (most recent call last):\n" + "".join(
    f"(Worker pid=2) ERROR 11-21 06:30:02 [w.py:9] {line}\n"
    for line in (
        '  File "/site-packages/vllm/w.py", line 9, in load',
        "    raise ValueError(",
        "ValueError: no such kernel",
    )
)


@pytest.mark.parametrize("text", [WARNINGS + REFUSED, REFUSED + WARNINGS], ids=["before", "after"])
def test_a_warning_in_the_log_excuses_nothing(text: str) -> None:
    failure = judged(*CORE, text)
    assert failure.line == "ValueError: no such kernel"
    assert outside_cause(failure) is None
    assert blamed_cause(failure) is Cause.REJECTED


def test_a_process_that_died_without_a_word_is_a_crash() -> None:
    failure = judged(*CORE, WARNINGS)
    assert failure.line.startswith("RuntimeError: Engine core initialization failed.")
    assert outside_cause(failure) is None
    assert blamed_cause(failure) is Cause.CRASHED


def test_a_process_that_died_of_a_broken_library_is_the_environment_s() -> None:
    text = "python: symbol lookup error: libtorch_cuda.so: undefined symbol: ncclCommRegister\n"
    assert outside_cause(judged(*CORE, text)) is Cause.ENVIRONMENT


def test_a_process_that_the_kernel_killed_for_memory_is_out_of_memory_only_if_it_died() -> None:
    died = Failure("load", "exception", *CORE, oom_killed=True, root="a worker died", child_died=True)
    assert blamed_cause(died) is Cause.OUT_OF_MEMORY
    # another program was killed meanwhile
    raised = Failure("load", "exception", *CORE, oom_killed=True, root="ValueError: no such kernel")
    assert blamed_cause(raised) is Cause.REJECTED


@pytest.mark.parametrize(
    "aftermath",
    [
        "RuntimeError: [/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:2601",
        "torch.distributed.DistNetworkError: failed to recv, got 0 bytes. Connection reset by peer",
        "EOFError",
        "BrokenPipeError: [Errno 32] Broken pipe",
        "zmq.error.ContextTerminated: Context was terminated",
        "SystemExit: 1",
    ],
)
def test_what_others_say_when_a_process_has_ended_is_not_its_cause(aftermath: str) -> None:
    later = f'Traceback (most recent call last):\n  File "/site-packages/x.py", line 1, in f\n    g()\n{aftermath}\n'
    assert judged(*CORE, REFUSED + later).line == "ValueError: no such kernel"


def test_errors_that_python_ignored_are_not_causes() -> None:
    ignored = (
        "Exception ignored in: <function LLM.__del__ at 0x7f>\nTraceback (most recent call last):\n"
        "  File \"/site-packages/x.py\", line 1, in __del__\nAttributeError: 'LLM' object has no attribute 'engine'\n"
    )
    assert judged(*CORE, REFUSED + ignored).line == "ValueError: no such kernel"


def test_lines_of_two_processes_that_print_at_once_are_told_apart() -> None:
    other = [f"(Worker pid=3) ERROR 11-21 06:30:02 [w.py:9] {word}" for word in ("KeyError: 'a'", "KeyError: 'b'")] * 2
    mixed = "\n".join(line for pair in zip(REFUSED.splitlines(), other, strict=True) for line in pair)
    assert [one.text for one in rootcause.raised(mixed)] == ["ValueError: no such kernel"]


def test_a_message_over_several_lines_is_kept() -> None:
    text = (
        'Traceback (most recent call last):\n  File "/site-packages/x.py", line 1, in f\n'
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\n"
        "block_size\n  Input should be greater than 0\n"
        "(Worker pid=2) INFO 11-21 06:30:02 [w.py:9] leaving\n"
    )
    (one,) = rootcause.raised(text)
    assert one.kind == "pydantic_core._pydantic_core.ValidationError"
    assert one.text.endswith("block_size\n  Input should be greater than 0")


def test_a_traceback_that_the_message_brings_along_is_the_nearest() -> None:
    message = (
        "\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n"
        '  File "/site-packages/torch/multiprocessing/spawn.py", line 95, in _wrap\n    fn(i, *args)\n'
        "ValueError: 3 heads cannot be split over 2 processes\n"
    )
    failure = judged("torch.multiprocessing.spawn.ProcessRaisedException", message, "")
    assert failure.line == "ValueError: 3 heads cannot be split over 2 processes"
    assert blamed_cause(failure) is Cause.REJECTED


def test_without_its_other_processes_a_library_fails_in_odd_words() -> None:
    error = ("AssertionError", "collective_rpc should not be called on follower node")
    text = log("worker-killed-tensor-parallel")
    assert rootcause.find(*error, text) is None
    root = rootcause.find(*error, text, alone=True)
    assert root is not None
    assert root.died
    assert root.text.startswith("Worker proc VllmWorker-1 died unexpectedly (exit code: -9)")
    assert rootcause.find(*error, WARNINGS, alone=True) is None, "nothing was said, so the error stands as it is"


def test_a_process_that_ended_by_a_signal_is_a_crash() -> None:
    failure = judged(
        "torch.multiprocessing.spawn.ProcessExitedException", "process 1 terminated with signal SIGSEGV", ""
    )
    assert outside_cause(failure) is None
    assert blamed_cause(failure) is Cause.CRASHED


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
            Cause.OUT_OF_MEMORY,
        ),
        (
            (
                "terminate called after throwing an instance of 'c10::Error'\n"
                "  what():  CUDA error: no kernel image is available"
            ),
            Cause.MISSING_HARDWARE,
        ),
        ("terminate called after throwing an instance of 'std::logic_error'\n  what():  bad block", Cause.CRASHED),
        ("terminate called after throwing an instance of 'int'", Cause.CRASHED),
    ],
)
def test_a_c_plus_plus_exception_that_ended_the_engine_is_its_cause(said: str, cause: Cause) -> None:
    words = rootcause.last_words(f"loading\n{said}\nFatal Python error: Aborted\n")
    failure = Failure("load", "crashed", "EngineDied", "engine process ended by SIGABRT during load", root=words)
    assert (outside_cause(failure) or blamed_cause(failure)) is cause
    assert failure.line.startswith("EngineDied: engine process ended by SIGABRT during load: ")


@given(st.text(), st.text(), st.text(alphabet=st.sampled_from('Traceback (most recent call last):\n Er:File",x')))
def test_no_log_is_too_strange_to_be_read(kind: str, message: str, text: str) -> None:
    root = rootcause.find(kind, message, text)
    assert root is None or root.text
