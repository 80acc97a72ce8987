"""What is declared against what upstream offers: nothing is missed, and nobody is accused for what was not read."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest

from harness.backends import MODULES, create, upstream
from harness.declare import Matrix, NotApplicable, Value
from harness.drift import Drift, compare, render
from harness.interfaces import InterfaceError, Offered, age, before, parse, recorded, write
from harness.jsontypes import JSON
from harness.launcher import Launcher
from tests import declared_toy, interpreters, projects
from tests.declared_toy import parameter
from tests.projects import paramatrix

TABLES = {"generate": {"decoder.top_k": "top_k", "decoder.mode": "mode", "decoder.best_of": "best_of"}}
TOP_K: dict[str, JSON] = {"type": "int", "default": 50}
MODE: dict[str, JSON] = {"type": "str", "default": "a", "values": ["a", "b"], "values_from": "a registry"}


def offered(version: str = "2.0", backend: str = "pytorch", /, **calls: dict[str, Any]) -> Offered:
    """An interface: each call is its arguments, or all its facts."""
    facts = {name: call if "arguments" in call else {"arguments": call} for name, call in calls.items()}
    return parse(backend, {"libraries": {"toylib": version}, "calls": facts})


def matrix(*parameters: Any) -> Matrix:
    return replace(declared_toy.MATRIX, parameters=parameters)


MODES = matrix(parameter("decoder.mode", Value("a"), Value("c")))


def drift(now: Offered, then: Offered | None = None, tables: upstream.Tables = TABLES, of: Matrix = MODES) -> Drift:
    return compare(now, then, tables, of)


def test_an_argument_that_no_parameter_is_is_listed_with_its_default_and_values() -> None:
    fresh = {"type": "str", "default": "", "values": ["x", "y"], "values_from": "a registry"}
    (found,) = drift(offered(generate={"top_k": TOP_K, "best_of": TOP_K, "mode": MODE, "fresh": fresh})).undeclared
    assert (found.call, found.argument, found.type, found.default) == ("generate", "fresh", "str", '""')
    assert found.values == ("x", "y")


def test_a_required_argument_has_no_default_and_none_is_one() -> None:
    found = drift(offered(other={"needed": {"type": "int"}, "free": {"type": "int", "default": None}})).undeclared
    assert {item.argument: item.default for item in found} == {"needed": None, "free": "None"}


def test_an_object_is_declared_by_the_parameters_that_make_it() -> None:
    call = {"sampling": {"type": "Params", "parts": "generate"}, "other": {"type": "Params", "parts": "beams"}}
    found = drift(offered(LLM=call, generate={"top_k": TOP_K, "mode": MODE}))
    assert [item.argument for item in found.undeclared] == ["other"], "nothing declared makes its parts"


def test_a_parameter_that_upstream_dropped_is_gone() -> None:
    (gone,) = drift(offered(generate={"top_k": TOP_K, "mode": MODE})).gone
    assert (gone.parameter, gone.call, gone.argument, gone.cells) == ("decoder.best_of", "generate", "best_of", 0)
    assert gone.certain


def test_a_call_that_takes_more_than_it_lists_proves_nothing_gone() -> None:
    call = {"arguments": {"top_k": TOP_K, "mode": MODE}, "open": "further keywords go to the model"}
    found = drift(offered(generate=call))
    assert [(gone.parameter, gone.certain) for gone in found.gone] == [("decoder.best_of", False)]
    assert found.remarks == (("generate", "further keywords go to the model"),)


def test_a_call_that_could_not_be_read_accuses_nobody() -> None:
    whole = offered("1.0", generate={"top_k": TOP_K, "mode": MODE, "best_of": TOP_K})
    broken = offered(generate={"arguments": {}, "failed": "ImportError: it moved"})
    found = drift(broken, whole)
    assert found.unread == (("generate", "ImportError: it moved"),)
    assert (found.gone, found.changes, found.values, found.undeclared) == ((), (), (), ())
    assert not drift(replace_version(whole, "3.0"), broken).changes, "nor is it news that it can be read again"


def replace_version(of: Offered, version: str) -> Offered:
    return of.model_copy(update={"libraries": {"toylib": version}})


def test_a_call_of_the_adapter_that_nobody_reads_is_said() -> None:
    found = drift(offered(other={}))
    assert found.unread == (("generate", "the adapter does not say how to read it"),)


def test_values_are_compared_in_both_directions() -> None:
    (found,) = drift(offered(generate={"top_k": TOP_K, "best_of": TOP_K, "mode": MODE})).values
    assert (found.parameters, found.argument, found.named_by) == (("decoder.mode",), "mode", "a registry")
    assert (found.tested, found.untested, found.unnamed) == (("a", "c"), ("b",), ("c",))


def test_a_value_in_another_spelling_is_the_same_value() -> None:
    mode = {"type": "Mode", "values": ["OFF", "ON"], "aliases": {"0": "OFF", "1": "ON"}}
    tested = matrix(parameter("decoder.mode", Value(0), Value("ON")))
    assert not drift(offered(generate={"mode": mode}), of=tested).values


def test_true_is_not_one() -> None:
    call = {"mode": {"type": "bool", "values": [False, True]}}
    (found,) = drift(offered(generate=call), of=matrix(parameter("decoder.mode", Value(1), Value(False)))).values
    assert (found.untested, found.unnamed) == (("True",), ("1",))


def test_values_of_another_column_are_not_tested_here() -> None:
    mode = parameter("decoder.mode", Value("a"), Value("b", backends=("vllm",)))
    deaf = replace(parameter("decoder.top_k", Value(1)), columns={"pytorch": NotApplicable("no such thing")})
    found = drift(offered(generate={"mode": MODE, "top_k": {**TOP_K, "values": [1]}}), of=matrix(mode, deaf))
    assert [(item.argument, item.untested) for item in found.values] == [("mode", ("b",)), ("top_k", ("1",))]


def test_a_parameter_without_an_argument_is_named_as_not_compared() -> None:
    tested = matrix(parameter("decoder.mode", Value("a")), parameter("batching.batch_size", Value(1)))
    assert drift(offered(generate={"mode": MODE}), of=tested).elsewhere == ("batching.batch_size",)


def test_the_news_of_a_version_are_what_came_went_and_changed() -> None:
    then = offered("1.0", generate={"top_k": TOP_K, "best_of": {"type": "int", "default": None}, "mode": MODE})
    mode = {**MODE, "default": "b", "values": ["b", "d", "e"]}
    now = offered("2.0", generate={"top_k": TOP_K, "mode": mode, "fresh": {"type": "int", "default": 0}})
    found = drift(now, then)
    assert found.before == "toylib 1.0"
    assert [(c.what, c.argument, c.before, c.after, c.parameters) for c in found.changes] == [
        ("removed", "best_of", "None", None, ("decoder.best_of",)),
        ("added", "fresh", None, "0", ()),
        ("default changed", "mode", "a", "b", ("decoder.mode",)),
        ("values added", "mode", None, "d, e", ("decoder.mode",)),
        ("values removed", "mode", "a", None, ("decoder.mode",)),
    ]


@pytest.mark.parametrize(("then", "now"), [(False, 0), (1, True), (None, "None"), (None, False)])
def test_a_default_that_only_looks_equal_has_changed(then: JSON, now: JSON) -> None:
    def version(number: str, value: JSON) -> Offered:
        return offered(number, generate={"top_k": {"type": "int", "default": value}})

    assert [change.what for change in drift(version("2.0", now), version("1.0", then)).changes] == ["default changed"]
    assert not drift(version("2.0", now), version("1.0", now)).changes


def test_versions_are_ordered_as_releases_not_as_text() -> None:
    versions = ["0.9.1", "0.10", "0.32.0rc1", "0.32.0", "0.32.0.post1", "1.0"]
    records = [offered(version) for version in versions]
    assert sorted([records[place] for place in (3, 0, 5, 1, 4, 2)], key=age) == records
    assert before(records[3], records) == records[2]
    assert before(records[0], records) is None
    assert before(offered("0.9.1+cpu"), records) is None, "a build is not another version"


def test_what_was_read_is_kept_a_file_a_version(tmp_path: Path) -> None:
    first, second = offered("1.0+cpu", generate={"top_k": TOP_K}), offered("2.0", generate={"needed": {"type": "int"}})
    assert [write(item, tmp_path).name for item in (second, first)] == [
        "pytorch-toylib-2.0.json",
        "pytorch-toylib-1.0.json",
    ]
    write(offered("2.0", "vllm"), tmp_path)
    assert recorded(tmp_path, "pytorch") == [first, second]
    assert not recorded(tmp_path, "pytorch")[1].calls["generate"].arguments["needed"].has_default
    assert parse("toylib", {"libraries": {"toylib": "0.3"}, "calls": {}}).file == "toylib-0.3.json"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"backend": "pytorch", "libraries": {}, "calls": {}}', '{"a": 1}'])
def test_a_damaged_record_is_one_line_with_the_mend(tmp_path: Path, text: str) -> None:
    (tmp_path / "pytorch-toylib-1.0.json").write_text(text)
    with pytest.raises(InterfaceError) as error:
        recorded(tmp_path, "pytorch")
    assert "pytorch-toylib-1.0.json" in str(error.value)
    assert "Delete it" in str(error.value)
    assert "\n" not in str(error.value)


def test_names_from_upstream_cannot_break_the_page() -> None:
    odd = {"a|b\n# c": {"type": "dict[str, <b>int</b>] | None", "default": "`|\n", "values": ["|", "*x*"]}}
    page = render(
        [drift(offered(**{"ge|ne\nrate": odd}), offered("1.0", **{"ge|ne\nrate": {}}))], projects.ROOT / "templates"
    )
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert "<b>" not in page
    assert "# c" not in [line.strip() for line in page.splitlines()]
    widths = {line.count("|") for line in tables}
    assert widths <= {5, 6, 7}, "no cell opened another"
    for line in page.splitlines():
        assert not re.match(r"#+ .*\bNone\b$", line)


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Number(IntEnum):
    ONE = 1
    TWO = 2


@dataclass
class Config:
    needed: int
    colour: Colour = Colour.RED
    number: Number | None = None
    names: set[str] = field(default_factory=lambda: {"b", "a"})
    switch: bool | None = None
    either: bool | str = False
    kind: Literal["x", "y"] | int = "x"
    inner: int = field(default=0, init=False)
    _private: int = 0


def test_a_dataclass_is_read_with_defaults_types_and_the_values_in_its_annotations() -> None:
    found = upstream.of_dataclass(Config)
    assert list(found) == ["needed", "colour", "number", "names", "switch", "either", "kind"]
    assert found["needed"] == {"type": "int"}
    assert (found["colour"]["default"], found["colour"]["values"]) == ("RED", ["RED", "BLUE"])
    assert (found["number"]["values"], found["number"]["aliases"]) == (["ONE", "TWO"], {"1": "ONE", "2": "TWO"})
    assert found["names"]["default"] == ["a", "b"]
    assert found["switch"]["values"] == [False, True]
    assert "values" not in found["either"], "a string may be anything"
    assert found["kind"]["values"] == ["x", "y"]


def _function(self: object, first, second: int = 2, *rest: int, third: str | None = None, **kwargs: Any) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    kwargs.pop("fourth", "d")
    kwargs.pop("fifth")
    kwargs.pop("_hidden", None)
    kwargs.pop("sixth", len("computed"))
    del self, first, second, rest, third


def test_a_signature_is_read_without_what_it_collects() -> None:
    assert upstream.of_function(_function) == {
        "first": {"type": ""},
        "second": {"type": "int", "default": 2},
        "third": {"type": "str | None", "default": None},
    }


def test_keywords_that_a_function_pops_are_read_from_its_source() -> None:
    assert upstream.of_keywords(_function) == {
        "fourth": {"type": "", "default": "d"},
        "fifth": {"type": ""},
        "sixth": {"type": ""},
    }


def test_types_are_read_from_a_docstring() -> None:
    says = """Args:
        top_k (`int`, *optional*, defaults to 50):
            How many.
        stop (`str or list[str]`, *optional*):
            Where to stop. Like this (see: there)
    """
    assert upstream.documented_types(says) == {"top_k": "int", "stop": "str or list[str]"}


def test_a_reader_that_fails_spoils_its_own_call_only() -> None:
    def broken() -> upstream.UpstreamCall:
        raise AttributeError("it moved")

    def fine() -> upstream.UpstreamCall:
        return {"read_from": "here", "arguments": {}}

    found = upstream.read({"toylib": ("no-such-distribution",), "pytest": ("none", "pytest")}, {"a": broken, "b": fine})
    assert found["calls"]["a"]["failed"] == "AttributeError: it moved"
    assert "failed" not in found["calls"]["b"]
    assert found["libraries"] == {"toylib": "unknown", "pytest": pytest.__version__}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return projects.make(tmp_path / "project")


def installed(folder: Path, version: str, **calls: dict[str, Any]) -> dict[str, str]:
    """What the toy, in the part of pytorch, will say that it offers."""
    path = folder / "interface.json"
    path.write_text(offered(version, **calls).model_dump_json(exclude_unset=True, exclude={"backend"}))
    return {"TOY_INTERFACE": str(path)}


def test_the_command_shows_what_a_version_bump_brings(project: Path) -> None:
    first = paramatrix(project, "drift", **installed(project, "1.0", generate={"top_k": {**TOP_K, "default": 40}}))
    assert first.returncode == 0, first.stderr
    assert "pytorch: toylib 1.0: no older version recorded" in first.stdout
    page = project / "reports" / "upstream-drift.md"
    assert f"page:     {page}" in first.stdout
    again = paramatrix(project, "drift", **installed(project, "2.0", generate={"top_k": TOP_K}))
    assert "pytorch: toylib 2.0: 1 changes since toylib 1.0" in again.stdout
    assert "| default changed | `generate` | `top_k` | `40` | `50` | `decoder.top_k` |" in page.read_text()
    kept = sorted(path.name for path in (project / "reports" / "upstream").iterdir())
    assert kept == ["pytorch-toylib-1.0.json", "pytorch-toylib-2.0.json"]


def test_another_version_has_a_page_of_its_own_and_the_newer_one_is_compared_with_it(project: Path) -> None:
    pyproject = project / "pyproject.toml"
    heading = "[tool.paramatrix.launchers]\n"
    other = f'"pytorch-1.0" = {json.dumps(list(projects.TOY))}\n'
    pyproject.write_text(pyproject.read_text().replace(heading, heading + other))
    old = installed(project, "1.0", generate={"top_k": {**TOP_K, "default": 40}})
    assert paramatrix(project, "drift", "--version", "pytorch=1.0", **old).returncode == 0
    reports = project / "reports"
    assert sorted(str(path.relative_to(reports)) for path in reports.rglob("*.*") if path.is_file()) == [
        "pytorch-1.0/upstream-drift.md",
        "upstream/pytorch-toylib-1.0.json",
    ]
    done = paramatrix(project, "drift", **installed(project, "2.0", generate={"top_k": TOP_K}))
    assert "1 changes since toylib 1.0" in done.stdout, done.stderr


def test_the_page_keeps_a_backend_that_is_not_asked_for(project: Path) -> None:
    kept = offered("0.5", "vllm", LLM={"kept_from_before": TOP_K})
    write(kept, project / "reports" / "upstream")
    assert paramatrix(project, "drift", **installed(project, "2.0", generate={})).returncode == 0
    page = (project / "reports" / "upstream-drift.md").read_text()
    assert "## PyTorch: toylib 2.0" in page
    assert "## vLLM: toylib 0.5" in page
    assert "`kept_from_before`" in page


def test_the_same_reading_gives_the_same_page_and_record(project: Path) -> None:
    told = installed(project, "2.0", generate={"top_k": TOP_K})
    pages = []
    for _ in range(2):
        assert paramatrix(project, "drift", **told).returncode == 0
        pages.append({path: path.read_bytes() for path in (project / "reports").rglob("*") if path.is_file()})
    assert pages[0] == pages[1]


def test_json_has_what_the_page_has(project: Path) -> None:
    done = paramatrix(project, "drift", "--json", "--backend", "pytorch", **installed(project, "2.0", generate={}))
    found = json.loads(done.stdout)["pytorch"]
    assert found["versions"] == "toylib 2.0"
    assert {"parameter": "decoder.top_k", "call": "generate", "argument": "top_k", "cells": 3, "certain": True} in (
        found["gone"]
    )


def test_the_page_and_the_records_go_where_they_are_asked_to(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    assert paramatrix(project, "drift", "--out", str(out), **installed(project, "2.0", generate={})).returncode == 0
    assert sorted(path.name for path in out.rglob("*.*")) == ["pytorch-toylib-2.0.json", "upstream-drift.md"]
    assert not (project / "reports").exists()


def test_what_a_library_prints_while_it_is_imported_does_no_harm(project: Path) -> None:
    told = installed(project, "2.0", generate={})
    done = paramatrix(project, "drift", TOY_IMPORT="print:{}\n", **told)
    assert done.returncode == 0, done.stderr


def refused(folder: Path, *arguments: str, **more: str) -> str:
    done = paramatrix(folder, "drift", *arguments, **more)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert not (folder / "reports").exists()
    return line


def test_a_library_that_cannot_be_imported_is_named(project: Path) -> None:
    told = installed(project, "2.0", generate={})
    line = refused(project, TOY_IMPORT="raise:ImportError:libxcb.so.1 is missing", **told)
    assert line == "paramatrix: the pytorch interface cannot be read: ImportError: libxcb.so.1 is missing"


def test_an_adapter_that_answers_nonsense_is_named(project: Path) -> None:
    path = project / "interface.json"
    path.write_text('{"libraries": {"toylib": "1"}, "calls": {"generate": {"argument": {}}}}')
    assert refused(project, TOY_INTERFACE=str(path)).startswith("paramatrix: the pytorch adapter's interface: calls.")


def test_a_backend_that_is_not_there_is_named_with_the_mend(project: Path) -> None:
    assert refused(project, "--backend", "gguf").startswith("paramatrix: unknown backend gguf")
    line = refused(project, "--backend", "vllm")
    assert line.startswith("paramatrix: no vllm environment")
    assert line.endswith("`make setup BACKENDS=vllm` installs it.")


@pytest.mark.parametrize("backend", sorted(MODULES))
def test_every_table_entry_is_a_path_and_an_argument(backend: str) -> None:
    tables = create(backend).upstream
    assert tables
    for table in tables.values():
        assert all(re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", path) for path in table)
        assert all(argument.isidentifier() for argument in table.values())


@pytest.fixture(scope="module")
def real() -> dict[str, Offered]:
    """The interfaces of the installed libraries, read once each."""
    return {}


def read_real(known: dict[str, Offered], backend: str) -> Offered:
    python = os.environ.get(f"PARAMATRIX_{backend.upper()}_PYTHON")
    python = python or str(interpreters.ROOT / ".venvs" / backend / "bin" / "python")
    if not Path(python).is_file():
        pytest.skip(f"no {backend} interpreter at {python}: `make setup BACKENDS={backend}` makes it")
    if backend not in known:
        known[backend] = parse(backend, Launcher((python,)).interface(backend))
    return known[backend]


@pytest.mark.parametrize("backend", sorted(MODULES))
def test_every_call_of_an_adapter_can_be_read_from_the_installed_library(
    real: dict[str, Offered], backend: str
) -> None:
    found = read_real(real, backend)
    assert not [(name, call.failed) for name, call in found.calls.items() if call.failed]
    assert create(backend).upstream.keys() <= found.calls.keys()
    assert all(call.arguments and call.read_from for call in found.calls.values())
    parts = {argument.parts for call in found.calls.values() for argument in call.arguments.values()} - {""}
    assert parts <= found.calls.keys()
    text = found.model_dump_json()
    assert " at 0x" not in text, "an address differs from one reading to the next"
    assert str(Path.home()) not in text


def test_the_real_transformers_and_torch_tell_defaults_and_values(real: dict[str, Offered]) -> None:
    found = read_real(real, "pytorch")
    assert found.calls["generate"].arguments["top_k"].default == 50
    assert "static" in (found.calls["generate"].arguments["cache_implementation"].values or ())
    model = found.calls["AutoModelForCausalLM.from_pretrained"]
    assert {"eager", "sdpa"} <= set(model.arguments["attn_implementation"].values or ())
    assert {"device_map", "trust_remote_code", "dtype"} <= model.arguments.keys(), "popped from **kwargs"
    assert model.open
    assert found.calls["BitsAndBytesConfig"].arguments["bnb_4bit_quant_type"].default == "fp4"
    assert "reduce-overhead" in (found.calls["torch.compile"].arguments["mode"].values or ())


def test_the_real_vllm_tells_what_it_dropped_and_what_it_has(real: dict[str, Offered]) -> None:
    found = read_real(real, "vllm")
    llm, sampling = found.calls["LLM"].arguments, found.calls["SamplingParams"].arguments
    assert "swap_space" not in llm
    assert "best_of" not in sampling
    assert sampling["top_k"].has_default
    assert {"auto", "CPU_ATTN", "FLASH_ATTN"} <= set(llm["attention_backend"].values or ())
    assert "TORCH_SDPA" not in (llm["attention_backend"].values or ()), "a member without a class behind it"
    assert {"safetensors", "dummy"} <= set(llm["load_format"].values or ())
    assert "awq" in (llm["quantization"].values or ())
    assert "VLLM_COMPILE" in (found.calls["CompilationConfig"].arguments["mode"].values or ())
    gone = compare(found, None, create("vllm").upstream, matrix()).gone
    assert {("vllm.swap_space", "swap_space"), ("vllm.best_of", "best_of")} == {
        (item.parameter, item.argument) for item in gone
    }
