"""What must not leave the machine does not, and what is no secret stays as it is."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.project import Project, find
from harness.redact import Redactor
from harness.session import Session
from tests import projects

ROOT = Path("/srv/checkout")


@pytest.fixture
def redactor(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/scratch")
    monkeypatch.setattr(sys, "base_prefix", "/opt/python")
    monkeypatch.setenv("SOME_API_KEY", "a-very-secret-value")
    monkeypatch.setenv("SHORT_TOKEN", "true")
    return Redactor(ROOT)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/checkout/models/tiny", "models/tiny"),
        ("in /srv/checkout: x", "in .: x"),
        ("File '/srv/checkout/harness/x.py', line 3", "File 'harness/x.py', line 3"),
        ("file:///scratch/x/rendezvous", "file://<tmp>/x/rendezvous"),
        ("PATH=/opt/python/bin:/home/somebody/bin", "PATH=<python>/bin:~/bin"),
        ("token a-very-secret-value!", "token <secret>!"),
        ("hf_" + "a" * 30, "<secret>"),
    ],
)
def test_folders_and_secrets_are_made_over(redactor: Redactor, text: str, shown: str) -> None:
    assert redactor.text(text) == shown


def test_what_a_link_of_the_project_leads_to_is_told_by_the_link_s_name(tmp_path: Path) -> None:
    project, elsewhere, door = (tmp_path / name for name in ("project", "elsewhere", "door"))
    (project / "models").mkdir(parents=True)
    elsewhere.mkdir()
    (project / ".cache").symlink_to(elsewhere)
    (project / "latest").symlink_to(project / "models")
    door.symlink_to(project)
    redactor = Redactor(door)
    assert redactor.text(f"no file {elsewhere}/variants/adapter") == "no file .cache/variants/adapter"
    assert redactor.text(f"{project}/models/tiny and {door}/models/tiny") == "models/tiny and models/tiny"
    assert redactor.text(f"in {project}: x") == "in .: x"


@pytest.mark.parametrize(
    "text",
    [
        "/srv/checkout2/x",
        "/srv/checkout-old",
        "/mnt/srv/checkout/x",
        "https://example.org/scratch/x",
        "/scratchfs",
        "/home/somebody-else",
        "Qwen/Qwen2.5-0.5B",
        "true",
        "hf_transfer",
    ],
)
def test_what_only_looks_alike_stays(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


@pytest.mark.parametrize("home", ["/", "/usr", ""])
def test_a_home_that_is_everybody_s_makes_nothing_over(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    assert Redactor(ROOT).text("org/model in /usr/bin/gcc, /") == "org/model in /usr/bin/gcc, /"


@given(st.text(alphabet=st.characters(exclude_characters="/")))
def test_text_without_folders_or_secrets_stays(text: str) -> None:
    assert Redactor(ROOT).text(text) == text


def test_keys_and_lists_are_made_over_and_other_values_stay(redactor: Redactor) -> None:
    assert redactor.value({"/scratch/x": [1, 2.5, None, True, "/scratch"]}) == {
        "<tmp>/x": [1, 2.5, None, True, "<tmp>"]
    }


def project(folder: Path, value: str) -> Project:
    projects.make(folder)
    declared = f"""
from dataclasses import replace
from harness.declare import Value
from tests.declared_toy import MATRIX, parameter
MATRIX = replace(MATRIX, parameters=(parameter("passthrough_kwargs", Value({{"path": {value!r}}})),))
"""
    (folder / "declarations.py").write_text(declared)
    return find(folder)


def test_a_cell_keeps_its_name_though_its_value_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its record would not be found under its plan: the cell would vanish from the page."""
    from harness.plan import build

    for name, value in projects.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "declarations", raising=False)
    found = project(tmp_path / "project", f"{tmp_path}/x")
    (cell,) = build(found.matrix(), models={"pytorch": "model"}, backends=["pytorch"])
    monkeypatch.delitem(sys.modules, "declarations")
    session = Session(found)
    try:
        record = session.judge(cell, "run")
    finally:
        session.close()
    assert (record.cell, record.value) == (cell.id, cell.value)
    assert record.verdict == "pass"
    assert str(tmp_path) not in str(record.evidence)
