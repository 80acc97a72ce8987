"""Fingerprints: equal in every process, and another one for whatever can change an outcome."""

from __future__ import annotations

import functools
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.fingerprint import upstream
from harness.fingerprint.cells import fingerprints
from harness.fingerprint.reusable import reusable
from harness.fingerprint.sources import closure
from harness.fingerprint.values import FOLLOWED_ELSEWHERE, FingerprintError, Teller
from harness.project import Project, find
from harness.snapshot import installed_contents
from harness.store import Results
from harness.verdict import Cause
from tests import toys
from tests.toys import cell_record, planned, run_record

ROOT = Path(__file__).parent.parent

EVERY_CELL = """
import json
from harness.columns import plan_cells
from harness.fingerprint.cells import fingerprints
from harness.project import find
project = find()
cells = plan_cells(project, None, None)
told, untold = fingerprints(project, cells, dict.fromkeys({cell.backend for cell in cells}, "nobody was asked"))
assert not untold and set(told) == {cell.id for cell in cells}
print(json.dumps(told))
"""


def test_every_declared_cell_has_one_of_its_own_and_the_same_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", EVERY_CELL],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    (only,) = told
    values = re.findall(r'": "(\w+)"', only)
    assert len(values) == len(set(values)) > 100


# Values -----------------------------------------------------------------------------------------------------------


def tell(value: object) -> str:
    return Teller(ROOT).tell(value)


def adding(number: object) -> Callable[[], object]:
    return lambda: number


def calling(function: Callable[[], object] = list) -> object:
    return function()


@dataclass(frozen=True)
class Point:
    x: int


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: int) -> None:
        self.x = x


ONE, TWO = (lambda: "one"), (lambda: "two")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (1, "1"),
        ({"a": 1}, {"a": 2}),
        ({1}, {2}),
        (adding(1), adding(2)),
        (adding(adding(1)), adding(adding(2))),
        (ONE, TWO),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (functools.partial(max, key=len), functools.partial(max, key=str)),
        (Point(1), Point(2)),
        (Slotted(1), Slotted(2)),
        (re.compile("a"), re.compile("a", re.IGNORECASE)),
        (Path("a"), Path("b")),
        (Point(1).__eq__, Point(2).__eq__),
        (len, max),
    ],
)
def test_values_that_differ_are_told_apart(one: object, other: object) -> None:
    assert tell(one) != tell(other)
    assert tell(one) == tell(one)


def test_equal_values_are_equal_whatever_their_order_and_address() -> None:
    assert tell({"a": 1, "b": 2}) == tell({"b": 2, "a": 1})
    assert tell({"x", "y", "z"}) == tell({"z", "y", "x"})
    assert tell(adding(Point(1))) == tell(adding(Point(1)))
    assert tell(Slotted(1)) == tell(Slotted(1))


def test_a_project_may_lie_anywhere() -> None:
    assert Teller(Path("/a")).tell(Path("/a/models")) == Teller(Path("/b")).tell(Path("/b/models"))


@pytest.mark.parametrize("strange", [threading.Lock(), io.StringIO("text"), iter([1]), object()])
def test_what_nobody_can_tell_is_refused_with_the_mend(strange: object) -> None:
    with pytest.raises(FingerprintError, match="of which nobody can tell whether it changed: let it capture plain"):
        tell(adding(strange))


def test_what_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(FingerprintError, match="holds itself"):
        tell(loop)


# Sources ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A package of a name of its own that must never be imported."""
    folder = tmp_path / f"made_{abs(hash(request.node.name))}"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "inner" / "__init__.py").write_text("from ..helper import help\n")
    (folder / "probe.py").write_text(
        "def effect():\n    from . import inner\n    try:\n        import json\n    finally:\n        pass\n"
    )
    (folder / "helper.py").write_text("x = 1\n")
    (folder / "other.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_sources_are_those_that_are_imported_at_any_depth_and_nothing_is_imported_for_it(package: Path) -> None:
    name = package.name
    assert set(closure([f"{name}.probe"])) == {f"{name}.probe", f"{name}.inner", f"{name}.helper"}
    assert set(closure([f"{name}.probe"], without=[f"{name}.inner"])) == {f"{name}.probe"}


def test_pages_and_commands_are_no_part_of_what_judges() -> None:
    found = set(closure(["harness.backends.pytorch", *upstream.JUDGING], without=FOLLOWED_ELSEWHERE))
    assert {"harness.judge", "harness.failure", "harness.engine", "harness.backends.pytorch.generate"} <= found
    strangers = ("report", "cli", "pages", "plugin", "store", "lint", "htmlreport", "records", "config", "fingerprint")
    assert not [name for name in found if name.removeprefix("harness.").split(".")[0] in strangers]
    assert not [name for name in found if name.startswith("harness.backends.vllm")]


# Cells ------------------------------------------------------------------------------------------------------------

SNAPSHOT: dict[str, Any] = {
    "python": "3.11.9",
    "build": "x",
    "contents": "abc",
    "unknown": [],
    "platform": "Linux",
    "cpu": "toy",
    "cpus": 2,
    "memory_bytes": 8 << 30,
    "gpus": [{"index": 0, "name": "A", "uuid": "u", "free_bytes": 5, "memory_bytes": 9, "driver": "1"}],
}


@pytest.fixture
def project() -> Project:
    return find(ROOT)


def of(project: Project, snapshot: Any = SNAPSHOT, **changes: Any) -> str | None:
    cell = toys.cell()
    model = changes.pop("model", str(ROOT / "models" / "tiny"))
    runs = {name: replace(getattr(cell, name), model=model) for name in ("treated", "control")}
    told, _ = fingerprints(project, [replace(cell, **{**runs, **changes})], {"pytorch": snapshot})
    return told.get(cell.id)


def changed_run(**changes: Any) -> Any:
    return replace(toys.cell().treated, model=str(ROOT / "models" / "tiny"), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 2},
        {"contrast": "x=1"},
        {"needs": ("cuda",)},
        {"output": toys.bound(0.1)},
        {"by_harness": True},
        {"treated": changed_run(request={"decoder.top_k": 2})},
        {"control": changed_run(engine={"x": 1})},
        {"control": changed_run(instruments=frozenset({"logits"}))},
        {"control": changed_run(workload=replace(toys.WORKLOAD, seeds=(1,)))},
        {"probe": replace(toys.APPLIED, decisive=False)},
        {"probe": replace(toys.APPLIED, effect=cast("Any", adding(1)))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_cell_s_own_inputs_change_it(project: Project, changes: dict[str, Any]) -> None:
    assert of(project) is not None
    assert of(project, **changes) not in {of(project), None}


@pytest.mark.parametrize("name", ["python", "build", "contents", "platform", "cpu", "cpus", "memory_bytes", "gpus"])
def test_the_machine_and_what_is_installed_change_it(project: Project, name: str) -> None:
    other = {"cpus": 3, "memory_bytes": 4 << 30, "gpus": []}.get(name, "another")
    assert of(project, {**SNAPSHOT, name: other}) != of(project)


def test_which_of_equal_gpus_it_was_and_how_much_memory_is_free_do_not(project: Project) -> None:
    gpu = {**SNAPSHOT["gpus"][0], "index": 3, "uuid": "v", "free_bytes": 1}
    assert of(project, {**SNAPSHOT, "gpus": [gpu], "available_bytes": 7, "memory_bytes": (8 << 30) + 4096}) == of(
        project
    )


def test_limits_the_launcher_and_why_a_backend_is_not_there_change_it(project: Project) -> None:
    found = {
        of(project),
        of(replace(project, limits=replace(project.limits, load_s=1.0))),
        of(replace(project, launchers={"pytorch": ("docker/launch", "image")})),
        of(project, "no such interpreter"),
        of(project, "another reason"),
    }
    assert len(found) == 5
    assert None not in found


def test_variables_that_reach_upstream_change_it_and_no_others_nor_secrets() -> None:
    plain = upstream.environment({})
    assert upstream.environment({"VLLM_USE_V1": "1"}) != plain
    assert upstream.environment({"TOKENIZERS_PARALLELISM": "false"}) != plain
    assert upstream.environment({"HF_TOKEN": "x", "HF_HUB_AUTH": "y", "HOME": "/", "COLUMNS": "80"}) == plain
    assert upstream.environment({"CUDA_VISIBLE_DEVICES": "3"}) == plain, "the next job may be given another one"
    assert upstream.environment({"CUDA_LAUNCH_BLOCKING": "1"}) != plain


def test_a_hub_id_is_told_by_the_commits_that_the_local_cache_has(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert of(project, model="org/model") is None
    refs = tmp_path / "models--org--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("abc")
    first = of(project, model="org/model")
    (refs / "main").write_text("def")
    assert None not in {first, of(project, model="org/model")}
    assert first != of(project, model="org/model")
    elsewhere = replace(project, launchers={"pytorch": ("docker/launch", "image")})
    cell = replace(toys.cell(), treated=replace(toys.cell().treated, model="org/model"))
    told, untold = fingerprints(elsewhere, [cell], {"pytorch": SNAPSHOT})
    assert told == {}
    assert untold == {"pytorch": "the launcher decides which revision of org/model is loaded"}


def test_a_backend_with_packages_that_cannot_be_told_has_none(project: Project) -> None:
    assert of(project, {**SNAPSHOT, "unknown": ["odd"]}) is None
    assert of(project, {name: item for name, item in SNAPSHOT.items() if name != "contents"}) is None


# What is installed ------------------------------------------------------------------------------------------------


def installed(folder: Path, **files: str) -> metadata.Distribution:
    place = folder / "thing-1.0.dist-info"
    place.mkdir(exist_ok=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
    for name, text in files.items():
        (place / name.replace("_json", ".json")).write_text(text)
    return metadata.Distribution.at(place)


def test_a_distribution_is_told_by_its_record(tmp_path: Path) -> None:
    contents, unknown = installed_contents([installed(tmp_path)])
    assert unknown == ("thing",)
    first = installed_contents([installed(tmp_path, RECORD="thing.py,sha256=a,1\n")])
    assert first == installed_contents([installed(tmp_path, RECORD="thing.py,sha256=a,1\n")])
    second = installed_contents([installed(tmp_path, RECORD="thing.py,sha256=b,1\n")])
    assert first[1] == second[1] == ()
    assert len({contents, first[0], second[0]}) == 3


def test_where_an_environment_lies_and_what_it_compiled_make_no_difference(tmp_path: Path) -> None:
    here = "../../../bin/run,sha256=a,1\nthing.py,sha256=c,1\n__pycache__/thing.cpython-311.pyc,,\n"
    there = "thing.py,sha256=c,1\n../../../bin/run,sha256=b,2\n"
    told = [installed_contents([installed(tmp_path, RECORD=text)]) for text in (here, there)]
    assert told[0] == told[1]
    data = installed_contents([installed(tmp_path, RECORD=there + "../../../share/binary,sha256=a,1\n")])
    assert data != told[0]


def test_a_linked_folder_of_sources_is_told_by_the_files_in_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "thing.py").write_text("x = 1\n")
    link = f'{{"url": "{source.as_uri()}", "dir_info": {{"editable": true}}}}'
    place = installed(tmp_path, RECORD="thing.pth,,\n", direct_url_json=link)
    first = installed_contents([place])
    assert first[1] == ()
    (source / "thing.py").write_text("x = 1 + 1\n")
    assert installed_contents([place]) != first


# What is re-used --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", Cause)
def test_an_outcome_is_re_used_unless_a_second_try_may_end_otherwise(cause: Cause) -> None:
    results = Results()
    results.add(run_record("a", planned("x=1")))
    results.add(cell_record("a", "x=1", cause, fingerprint="f"))
    again = {Cause.HARNESS_ERROR, Cause.ENVIRONMENT, Cause.MISSING_MODEL, Cause.FLAKY, Cause.TIMED_OUT}
    assert reusable(results, {"pytorch-x=1": "f"}) == (set() if cause in again else {"pytorch-x=1"})
    assert reusable(results, {"pytorch-x=1": "g"}) == set()
    assert reusable(results, {}) == set()


def test_a_value_that_cannot_be_told_names_its_cell(project: Project) -> None:
    with pytest.raises(FingerprintError, match=r"^pytorch-decoder\.top_k=1: a probe or variant captures"):
        of(project, probe=replace(toys.APPLIED, effect=cast("Any", adding(SimpleNamespace(lock=threading.Lock())))))
