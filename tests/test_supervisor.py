"""The supervisor of a slot alone: no cluster, its pipe only."""

from __future__ import annotations

import importlib
import json
import os
import threading
from pathlib import Path

import pytest

from harness import processes
from harness.cluster.node import Facts, Setup, digest
from harness.cluster.slot import Slot, SupervisorGone
from harness.plan import Cell, build
from harness.project import find
from harness.records import CellRecord
from tests import fake_smi, projects
from tests.declared_toy import MATRIX
from tests.projects import paramatrix


def setup_of(folder: Path, matrix: str = "declared_toy.MATRIX") -> Setup:
    """What a supervisor of a toy project is told."""
    root = find(projects.make(folder, matrix=matrix)).root
    cells = planned(matrix)
    return Setup(
        project=str(root), versions={}, models={"pytorch": str(MATRIX.shipped_model)}, plan=digest(cells.values())
    )


def planned(matrix: str = "declared_toy.MATRIX") -> dict[str, Cell]:
    module, _, name = matrix.partition(".")
    declared = getattr(importlib.import_module(f"tests.{module}"), name)
    return {c.id: c for c in build(declared, models={"pytorch": str(MATRIX.shipped_model)}, backends=["pytorch"])}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in projects.environment(TOY_FOLDER=str(tmp_path)).items():
        monkeypatch.setenv(name, value)


def test_it_judges_what_it_is_told_as_a_run_on_its_machine_would(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    setup = setup_of(folder)
    slot = Slot()
    try:
        answer = slot.begin(setup.model_dump(mode="json"))
        assert isinstance(answer, dict)
        facts = Facts.model_validate(answer["facts"])
        records = [CellRecord.model_validate(slot.judge(cell, "r1-2")) for cell in planned()]
    finally:
        slot.end()
    assert paramatrix(folder, "run", "--backends", "pytorch").returncode == 0
    local = projects.results(folder)

    assert {record.cell: (record.verdict, record.cause, record.reason) for record in records} == {
        record.cell: (record.verdict, record.cause, record.reason) for record in local.cells.values()
    }
    assert {record.run for record in records} == {"r1-2"}
    assert local.latest is not None
    assert facts.backends == local.latest.backends
    assert facts.harness == local.latest.harness
    assert facts.able == {"pytorch"}


@pytest.mark.parametrize("how", ["closed", "told to"])
def test_it_ends_in_the_middle_of_a_cell_and_its_engine_with_it(tmp_path: Path, how: str) -> None:
    setup = setup_of(tmp_path / "project", "declared_toy.HANGING")
    slot = Slot()
    slot.begin(setup.model_dump(mode="json"))
    process = slot._process
    assert process is not None
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            slot.judge("pytorch-passthrough_kwargs=hang", "r1")
        except SupervisorGone as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    hanging = tmp_path / "hanging"
    while not hanging.exists() or not (engine := hanging.read_text()):
        asking.join(0.05)
        assert asking.is_alive(), errors
    if how == "closed":
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
    assert slot.end().startswith("exited with code")
    asking.join(30)
    assert [type(error) for error in errors] == [SupervisorGone]
    assert not processes.running(int(engine))


def test_it_refuses_cells_that_it_would_plan_otherwise(tmp_path: Path) -> None:
    setup = setup_of(tmp_path / "project").model_copy(update={"plan": "0"})
    slot = Slot()
    try:
        answer = slot.begin(setup.model_dump(mode="json"))
    finally:
        slot.end()
    assert isinstance(answer, dict)
    assert answer["event"] == "failed"
    assert "plan other cells than those of the run: use one checkout" in str(answer["reason"])


def test_it_says_that_there_is_no_such_project_on_its_node(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    setup = setup_of(tmp_path / "project").model_copy(update={"project": str(tmp_path / "empty")})
    slot = Slot()
    try:
        answer = slot.begin(setup.model_dump(mode="json"))
    finally:
        slot.end()
    assert isinstance(answer, dict)
    assert "no pyproject.toml with a [tool.paramatrix] table" in str(answer["reason"])


def test_it_tells_of_all_that_its_node_has_and_uses_what_its_slot_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that told of the slot's GPU alone would be another one for every slot."""
    there = fake_smi.install(tmp_path / "bin", ["GPU-0", "GPU-1", "GPU-2"])
    monkeypatch.setenv("PATH", there + os.pathsep + os.environ["PATH"])
    setup = setup_of(tmp_path / "project", "declared_slots.PLAIN").model_copy(update={"gpus": ("1",)})
    slot = Slot()
    slot.environment = {"CUDA_VISIBLE_DEVICES": "0,1"}
    try:
        answer = slot.begin(setup.model_dump(mode="json"))
        assert isinstance(answer, dict)
        (info,) = Facts.model_validate(answer["facts"]).backends.values()
        slot.judge("pytorch-passthrough_kwargs=a", "r1")
    finally:
        slot.end()
    assert [gpu["uuid"] for gpu in info.gpus] == ["GPU-0", "GPU-1"]
    noted = [json.loads(line)["gpus"] for line in (tmp_path / "noted").read_text().splitlines()]
    assert set(noted) == {"1"}


def test_it_keeps_the_variables_of_the_framework_from_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOYNET_ADDRESS", "secret")
    slot = Slot(withheld=("TOYNET_",))
    try:
        slot.begin(setup_of(tmp_path / "project").model_dump(mode="json"))
        assert slot._process is not None
        assert b"TOYNET_" not in Path(f"/proc/{slot._process.pid}/environ").read_bytes()
    finally:
        slot.end()
