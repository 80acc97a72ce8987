"""Whose fault it was, read from the words in which real tools fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.failure import Failure, blamed_cause, is_out_of_memory, one_line, outside_cause
from harness.verdict import Cause, Outcome


def raised(text: str, kind: str = "RuntimeError") -> Failure:
    return Failure("load", "exception", kind, text)


ENVIRONMENT = [
    ("ImportError", "libxcb.so.1: cannot open shared object file: No such file or directory"),
    ("OSError", "libcudart.so.12: cannot open shared object file: No such file or directory"),
    ("ImportError", "/opt/lib/python3.11/site-packages/flash_attn_2_cuda.so: undefined symbol: _ZN3c104cuda9SetDevice"),
    ("ImportError", "/lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by x.so)"),
    (
        "torch._inductor.exc.InductorError",
        "InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config",
    ),
    ("RuntimeError", "Failed to find C compiler. Please specify via CC environment variable."),
    ("RuntimeError", "Ninja is required to load C++ extensions (pip install ninja to get it)"),
    ("FileNotFoundError", "[Errno 2] No such file or directory: 'ninja'"),
    ("FileNotFoundError", "[Errno 2] No such file or directory: 'gcc'"),
    ("RuntimeError", "Could not find nvcc, please set CUDA_HOME"),
    ("OSError", "CUDA_HOME environment variable is not set. Please set it to your CUDA install root."),
    (
        "subprocess.CalledProcessError",
        "Command '['/usr/bin/gcc', '/tmp/x/main.c', '-O3']' returned non-zero exit status 1.",
    ),
    (
        "torch._inductor.exc.CppCompileError",
        "C++ compile error\n\nCommand:\ng++ /tmp/x.cpp\n\nOutput:\nPython.h: No such",
    ),
    ("RuntimeError", "x.cpp:1:10: fatal error: Python.h: No such file or directory"),
    ("OSError", "[Errno 28] No space left on device: '/tmp/x'"),
    ("OSError", "[Errno 122] Disk quota exceeded"),
    ("PermissionError", "[Errno 13] Permission denied: '/home/user/.cache/huggingface'"),
    ("OSError", "[Errno 30] Read-only file system: '/models'"),
    ("OSError", "[Errno 24] Too many open files"),
    ("torch.distributed.DistBackendError", "NCCL error in: ProcessGroupNCCL.cpp:2021, unhandled system error"),
    (
        "torch.distributed.DistNetworkError",
        "The server socket has failed to listen: EADDRINUSE (Address already in use)",
    ),
    ("httpx.ConnectError", "[Errno -3] Temporary failure in name resolution"),
    ("requests.exceptions.SSLError", "HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded"),
    ("AssertionError", "libcuda.so cannot found!"),
    (
        "ValueError",
        (
            "Free memory on device cuda:0 (3.10/79.10 GiB) on startup is less than desired GPU memory utilization "
            "(0.9, 71.19 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
        ),
    ),
    (
        "ValueError",
        (
            "Available memory on node 0 (13.71/15.09 GiB) on startup is less than desired CPU memory utilization "
            "(0.97, 14.64 GiB). On the CPU backend, the `--gpu-memory-utilization` flag controls the fraction of CPU "
            "memory reserved (despite its name)."
        ),
    ),
    (
        "subprocess.CalledProcessError",
        "Command 'lscpu --json --extended=CPU,CORE,NODE --online' returned non-zero exit status 127.",
    ),
]

ENVIRONMENT += [
    # HF_MODULES_CACHE is a file, or stands below one
    ("FileExistsError", "[Errno 17] File exists: '/srv/modules'"),
    ("NotADirectoryError", "[Errno 20] Not a directory: '/srv/modules/transformers_modules'"),
    ("PermissionError", "[Errno 1] Operation not permitted: '/dev/shm/x'"),
    ("OSError", "libgomp-d22c30c5.so.1: cannot allocate memory in static TLS block"),
    ("OSError", "/opt/lib/libfoo.so: invalid ELF header"),
    ("ImportError", "libstdc++.so.6: version `CXXABI_1.3.15' not found (required by x.so)"),
    ("safetensors_rust.SafetensorError", "Error while serializing: I/O error: Permission denied (os error 13)"),
    ("RuntimeError", "PytorchStreamWriter failed writing file data/12: file write failed"),
    ("RuntimeError", "unable to write to file </torch_1>: insufficient shared memory (shm)"),
    ("RuntimeError", "Failed to initialize NVML: Driver/library version mismatch"),
    (
        "RuntimeError",
        "CUDA error: the provided PTX was compiled with an unsupported toolchain; system not yet initialized",
    ),
    ("subprocess.CalledProcessError", "Command 'ld' failed: /usr/bin/ld: cannot find -lcuda: No such file"),
    ("socket.gaierror", "[Errno -2] unknown host"),
    ("requests.exceptions.ReadTimeout", "HTTPSConnectionPool(host='hub', port=443): Read timed out."),
    ("OSError", "[Errno 113] No route to host"),
]

MISSING_PACKAGE = [
    ("ModuleNotFoundError", "No module named 'flash_attn'"),
    (
        "ImportError",
        (
            "FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package "
            "flash_attn seems to be not installed. Please refer to the documentation to install Flash Attention 2."
        ),
    ),
    (
        "ImportError",
        "Using `bitsandbytes` 4-bit quantization requires bitsandbytes: `pip install -U bitsandbytes>=0.46.1`",
    ),
    (
        "ImportError",
        (
            "You need to install optimum-quanto in order to use KV cache quantization with optimum-quanto backend. "
            "Please install it via  with `pip install optimum-quanto`"
        ),
    ),
    (
        "ImportError",
        "Loading an AWQ quantized model requires gptqmodel. Please install it with `pip install gptqmodel`",
    ),
    (
        "ValueError",
        (
            "Using a `device_map`, `tp_plan`, `torch.device` context manager or `torch.set_default_device(device)`"
            " requires `accelerate`. You can install it with `pip install accelerate`"
        ),
    ),
    ("RuntimeError", "Cannot find a working triton installation: triton package is not installed"),
    ("importlib.metadata.PackageNotFoundError", "optimum"),
]

MISSING_HARDWARE = [
    ("AssertionError", "Torch not compiled with CUDA enabled"),
    ("RuntimeError", "No CUDA GPUs are available"),
    ("RuntimeError", "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
    ("RuntimeError", "Cannot access accelerator device when none is available."),
    ("RuntimeError", "No GPU found. A GPU is needed for quantization."),
    ("RuntimeError", "CUDA error: invalid device ordinal"),
    ("RuntimeError", "CUDA error: no kernel image is available for execution on the device"),
    ("RuntimeError", "FlashAttention only supports Ampere GPUs or newer."),
    ("ValueError", "FP8 quantized models is only supported on GPUs with compute capability >= 9.0 (e.g H100)"),
    ("ValueError", "Bfloat16 is only supported on GPUs with compute capability of at least 8.0."),
    ("ValueError", "World size (4) is larger than the number of available GPUs (2) in this node."),
    ("RuntimeError", "NVFP4 quantization requires a CUDA GPU."),
    ("ValueError", "Expected CUDA device, got cpu"),
    ("RuntimeError", "MSA block-sparse attention requires an SM100 / Blackwell CUDA device."),
]

MISSING_MODEL = [
    (
        "OSError",
        "org/none is not a local folder and is not a valid model identifier listed on 'https://huggingface.co'",
    ),
    (
        "OSError",
        "We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cache.",
    ),
    ("huggingface_hub.errors.LocalEntryNotFoundError", "An error happened while trying to locate the file on the Hub"),
    ("huggingface_hub.errors.OfflineModeIsEnabled", "Cannot reach https://huggingface.co/x: offline mode is enabled."),
    ("OSError", "You are trying to access a gated repo."),
    ("RuntimeError", "Cannot find any model weights with `/models/tiny`"),
    ("OSError", "/models/x does not appear to have a file named pytorch_model.bin or model.safetensors."),
]


@pytest.mark.parametrize(
    ("cause", "kind", "text"),
    [
        (cause, *row)
        for cause, rows in (
            (Cause.ENVIRONMENT, ENVIRONMENT),
            (Cause.MISSING_PACKAGE, MISSING_PACKAGE),
            (Cause.MISSING_HARDWARE, MISSING_HARDWARE),
            (Cause.MISSING_MODEL, MISSING_MODEL),
        )
        for row in rows
    ],
)
def test_what_is_not_the_parameter_s_doing_is_recognised(cause: Cause, kind: str, text: str) -> None:
    assert outside_cause(raised(text, kind)) is cause


REJECTIONS = [
    ("TypeError", "generate() got an unexpected keyword argument 'min_p'"),
    (
        "ValueError",
        "`temperature` (=0.0) has to be a strictly positive float, otherwise your next token scores is invalid",
    ),
    (
        "ValueError",
        "The following `model_kwargs` are not used by the model: ['top_q'] (note: typos in the generate args)",
    ),
    (
        "ValueError",
        (
            'Specified `attn_implementation="flash"` is not supported. The only possible arguments are '
            '`attn_implementation="eager"`, `"attn_implementation=flash_attention_2"`'
        ),
    ),
    ("ValueError", "Invalid `cache_implementation` (paged). Choose one of: ['static', 'dynamic', 'quantized']"),
    ("torch._dynamo.exc.InvalidBackend", "Invalid backend: 'ninja', see `torch._dynamo.list_backends()`"),
    ("torch._dynamo.exc.InvalidBackend", "Invalid backend: 'nvcc'"),
    ("ValueError", "torch_compile_backend='gcc' is not one of inductor, cudagraphs, eager"),
    ("ValueError", "unknown compiler 'g++': expected one of inductor, eager"),
    ("ValueError", "`fullgraph` requires CUDA graphs to be disabled: set `enforce_eager=True`"),
    ("ValueError", "Cannot use `cuda_graph` together with `streaming`"),
    ("RuntimeError", "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    ("ValueError", "`device_map` must be one of auto, balanced, sequential or a dict of CUDA devices"),
    (
        "ValueError",
        "Unrecognized quantization type `fp3`. Upgrade with `pip install --upgrade transformers` if it is new.",
    ),
    ("ValueError", "top_k=0.5 is not an integer; newer versions may accept it, see `pip install -U transformers`"),
    ("ValueError", "Unknown package format 'npz' for `weights`"),
    ("ValueError", "install_hooks must be a bool"),
    ("ValueError", "num_beams has to be an integer strictly greater than 1, but is 0"),
    ("ValueError", "`early_stopping` must be a boolean or 'never', but is maybe."),
    (
        "pydantic_core._pydantic_core.ValidationError",
        "1 validation error: gpu_memory_utilization less than or equal to 1",
    ),
    ("NotImplementedError", "Got `num_return_sequences` with assisted generation, which is not supported"),
    ("KeyError", "'c++'"),
    ("ValueError", "unknown mode 'Permission denied': expected 'Read-only file system' or 'Connection refused'"),
    ("ValueError", "`device` must be one of 'cpu', 'CUDA device', got 'No GPU found'"),
    ("TypeError", "expected permission, driver, disk and network to be strings, got int"),
    ("ValueError", "`transport` should be one of network, disk, shared_library"),
    ("pydantic_core._pydantic_core.ValidationError", "compiler: Input should be 'gcc not found' [type=literal_error]"),
    ("AssertionError", "block_size must be a multiple of 16"),
    ("RuntimeError", "Unsupported CPU attention configuration: head_dim=20 isa=1 kv_cache_idx=0"),
    (
        "ValueError",
        (
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the "
            "engine (this flag also controls CPU memory reservation on the CPU backend, despite its name)."
        ),
    ),
]


@pytest.mark.parametrize(("kind", "text"), REJECTIONS)
def test_a_rejection_that_only_mentions_a_tool_is_still_a_rejection(kind: str, text: str) -> None:
    failure = raised(text, kind)
    assert outside_cause(failure) is None
    assert blamed_cause(failure) is Cause.REJECTED


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "torch.OutOfMemoryError",
            "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79 GiB",
        ),
        (
            "RuntimeError",
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to",
        ),
        ("RuntimeError", "DefaultCPUAllocator: not enough memory: you tried to allocate 4000000000000 bytes."),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ("OSError", "[Errno 12] Cannot allocate memory"),
        ("MemoryError", "Unable to allocate 7.28 TiB for an array"),
        ("MemoryError", ""),
        ("RuntimeError", "std::bad_alloc"),
        (
            "ValueError",
            (
                "Available memory on node 0 (13.61/15.09 GiB) on kv cache allocation is less than requested memory for "
                "kv (1048576.0 GiB). Decrease --kv-cache-memory-bytes, or reduce CPU memory used by other processes."
            ),
        ),
    ],
)
def test_running_out_of_memory_is_recognised(kind: str, text: str) -> None:
    failure = raised(text, kind)
    assert is_out_of_memory(failure)
    assert outside_cause(failure) is None
    assert blamed_cause(failure) is Cause.OUT_OF_MEMORY


def test_a_process_that_the_kernel_killed_for_memory_is_out_of_memory() -> None:
    failure = Failure("generate", "crashed", "EngineDied", "engine process ended by SIGKILL", oom_killed=True)
    assert blamed_cause(failure) is Cause.OUT_OF_MEMORY
    assert outside_cause(failure) is None


@pytest.mark.parametrize(
    ("kind", "cause"),
    [("crashed", Cause.CRASHED), ("timed_out", Cause.TIMED_OUT), ("exception", Cause.REJECTED)],
)
def test_the_kind_of_a_failure_is_its_cause(kind: str, cause: Cause) -> None:
    failure = Failure("load", kind, "X", "segmentation fault")
    assert outside_cause(failure) is None
    assert blamed_cause(failure) is cause


def test_a_crash_is_the_environment_s_when_its_log_shows_a_broken_library() -> None:
    log = "python: symbol lookup error: libtorch_cuda.so: undefined symbol: ncclCommRegister"
    assert outside_cause(Failure("load", "crashed", "EngineDied", "exited with code 127", log=log)) is Cause.ENVIRONMENT
    harmless = "compiled with gcc 13, CUDA is not available, running on the CPU"
    assert outside_cause(Failure("load", "crashed", "EngineDied", "ended by SIGSEGV", log=harmless)) is None


@pytest.mark.parametrize("text", ["No module named 'x'", "CUDA out of memory", "top_k must be positive"])
def test_a_frame_of_the_harness_is_its_own_fault_whatever_the_words(text: str) -> None:
    failure = Failure("load", "exception", "ValueError", text, where="harness")
    assert outside_cause(failure) is Cause.HARNESS_ERROR


def test_what_was_never_forwarded_and_a_lost_host_are_nobody_s_verdict() -> None:
    assert outside_cause(Failure("load", "not_forwarded", "NotForwarded", "x")) is Cause.HARNESS_ERROR
    assert outside_cause(Failure("load", "host_lost", "PeerGone", "x")) is Cause.ENVIRONMENT


@given(
    st.builds(Failure, st.just("load"), st.sampled_from(["exception", "crashed", "timed_out"]), st.text(), st.text())
)
def test_what_is_outside_is_never_a_verdict_on_the_parameter(failure: Failure) -> None:
    outside = outside_cause(failure)
    assert outside is None or outside.outcome is Outcome.NOT_RUN
    assert blamed_cause(failure).outcome is Outcome.FAIL


@given(st.text(), st.integers(1, 400))
def test_one_line_is_one_line_of_limited_length(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line.splitlines()) <= 1
    assert len(line) <= limit


def test_a_failure_survives_the_wire() -> None:
    failure = Failure(
        "load", "crashed", "T", "m", "harness", "trace", "log", oom_killed=True, root="r", child_died=True
    )
    facts = {name: getattr(failure, name) for name in Failure.__slots__}
    assert Failure.parse({**facts, "unknown": 1}) == failure
