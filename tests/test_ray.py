"""Runs on a real Ray cluster of several nodes: nothing is lost or doubled, whoever dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.store import Results
from harness.verdict import Cause
from tests import clusters, fake_smi, projects
from tests.clusters import Nodes
from tests.test_processes import until_gone

HANG = "pytorch-passthrough_kwargs=hang"
MANY = {
    "pytorch-passthrough_kwargs=raise": Cause.REJECTED,
    **{f"pytorch-decoder.top_k={count}": Cause.CONFIRMED for count in range(1, 7)},
    HANG: Cause.CONFIRMED,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that engines on every node see."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def cluster(shared: Path) -> Iterator[Nodes]:
    with clusters.started(2, TOY_FOLDER=str(shared)) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_hung(shared: Path) -> None:
    (shared / "hanging").unlink(missing_ok=True)


def start(folder: Path, cluster: Nodes, *more: str) -> subprocess.Popen[str]:
    arguments = ["harness.cli", "run", "--backends", "pytorch", "--executor", "ray", "--ray-address", cluster.address]
    return projects.start(folder, *arguments, *more, python=str(clusters.PYTHON))


def ended(process: subprocess.Popen[str]) -> str:
    """What a run said that judged everything; each cell once."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    told = Counter(re.findall(r"^\[ *\d+/\d+\] \S+ (\S+)", out, re.MULTILINE))
    assert set(told.values()) == {1}, out
    return out


def hanging(process: subprocess.Popen[str], shared: Path) -> int:
    """The engine that hangs, once it does."""
    deadline = time.monotonic() + 100
    while not (shared / "hanging").exists() or not (text := (shared / "hanging").read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return int(text)


def causes(found: Results) -> dict[str, Cause]:
    assert found.unmeasured == []
    return {name: cell.cause for name, cell in found.cells.items()}


def test_every_cell_is_judged_as_on_this_machine_alone(cluster: Nodes, tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    ended(start(folder, cluster))
    there = projects.results(folder)
    alone = projects.make(tmp_path / "alone")
    assert projects.paramatrix(alone, "run", "--backends", "pytorch").returncode == 0
    here = projects.results(alone)

    assert {c.cell: (c.verdict, c.cause, c.reason) for c in there.cells.values()} == {
        c.cell: (c.verdict, c.cause, c.reason) for c in here.cells.values()
    }
    assert there.latest is not None
    assert here.latest is not None
    assert there.latest.backends == here.latest.backends
    assert list(there.runs) == [there.latest.run], "both nodes are this machine"
    assert (folder / "reports" / "parameter-support-matrix.md").exists()
    assert cluster.supervisors() == set()


@pytest.mark.faults
@pytest.mark.parametrize("how", ["node", "raylet"])
def test_a_node_that_dies_loses_no_cell_and_doubles_none(
    cluster: Nodes, tmp_path: Path, shared: Path, how: str
) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.MANY")
    process = start(folder, cluster)
    engine = hanging(process, shared)
    raylet = cluster.node_of(engine)
    if how == "node":
        cluster.kill(raylet)
    else:
        cluster.raylets.remove(raylet)
        os.kill(raylet, signal.SIGKILL)
    cluster.add()
    out = ended(process)

    assert f"a slot was lost while it judged {HANG}" in out
    assert causes(projects.results(folder)) == MANY
    until_gone(engine)
    assert cluster.supervisors() == set()


@pytest.mark.faults
def test_a_cell_whose_supervisor_dies_three_times_is_not_run_and_says_why(
    cluster: Nodes, tmp_path: Path, shared: Path
) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.STUCK")
    process = start(folder, cluster)
    for _ in range(3):
        engine = hanging(process, shared)
        (shared / "hanging").unlink()
        os.kill(cluster.supervisor_of(engine), signal.SIGKILL)
        until_gone(engine)
    out = ended(process)

    found = projects.results(folder)
    assert out.count("a slot was lost") == 3
    assert causes(found) == {name: cause for name, cause in MANY.items() if "top_k" in name} | {HANG: Cause.ENVIRONMENT}
    assert found.cells[HANG].reason == (
        "lost with its slot 3 times, the last time because of this: the supervisor ended: ended by SIGKILL"
    )


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_supervisor_and_keeps_what_arrived(
    cluster: Nodes, tmp_path: Path, shared: Path, number: signal.Signals
) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.MANY")
    process = start(folder, cluster, "--workers", "1")
    hanging(process, shared)
    before = cluster.supervisors()
    assert before
    process.send_signal(number)
    process.communicate(timeout=300)
    assert process.returncode != 0
    if number != signal.SIGKILL:
        assert not any(pid in before for pid in cluster.supervisors()), "they are waited for"
    until_gone(*before)
    found = projects.results(folder)
    assert found.cells
    assert HANG in {plan.cell for plan in found.unmeasured}

    ended(start(folder, cluster))
    assert causes(projects.results(folder)) == MANY


def test_a_slot_uses_the_gpu_that_it_holds_and_the_header_tells_of_its_node_s(tmp_path: Path) -> None:
    """The GPUs are Ray's word only. A node whose `ray start` was narrowed has no others."""
    there = fake_smi.install(tmp_path / "bin", [f"GPU-{n}" for n in range(5)]) + os.pathsep + os.environ["PATH"]
    folder = projects.make(tmp_path / "project", matrix="declared_slots.PLAIN")
    with clusters.started(0, TOY_FOLDER=str(tmp_path), PATH=there, CUDA_VISIBLE_DEVICES="1,3,4") as nodes:
        nodes.add(gpus=2)
        ended(start(folder, nodes))
    header = projects.results(folder).latest
    assert header is not None
    assert [gpu["uuid"] for gpu in header.backends["pytorch"].gpus] == ["GPU-1", "GPU-3"]
    noted = [json.loads(line)["gpus"] for line in (tmp_path / "noted").read_text().splitlines()]
    assert set(noted) <= {"1", "3"}


def test_an_address_at_which_nothing_answers_is_one_line(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    command = ["harness.cli", "run", "--executor", "ray", "--ray-address", "127.0.0.1:9"]
    process = projects.start(folder, *command, python=str(clusters.PYTHON))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 4
    assert "no Ray cluster at 127.0.0.1:9: Connection refused" in out + err
    assert "Traceback" not in out + err


def test_without_ray_it_says_how_to_get_it(tmp_path: Path) -> None:
    done = projects.paramatrix(projects.make(tmp_path / "project"), "run", "--executor", "ray")
    assert done.returncode == 4
    assert "`make matrix EXECUTOR=ray` makes one that has it" in done.stdout + done.stderr


def test_the_real_library_is_judged_through_the_cluster(cluster: Nodes, tmp_path: Path, pytorch_python: str) -> None:
    folder = projects.make(tmp_path / "project", launcher=(pytorch_python,), matrix="declared_real.MATRIX")
    ended(start(folder, cluster))
    found = causes(projects.results(folder))
    assert found["pytorch-fp_precision=bfloat16"] is Cause.CONFIRMED
    assert found["pytorch-max_output_tokens=1"] is Cause.CONFIRMED
    assert found["pytorch-decoder.top_k=5"] is Cause.MISSING_HARDWARE
    assert len(found) == 5
