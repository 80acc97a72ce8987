"""The commands about configs and claims, as they are typed."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from harness.claims import ClaimsError, read
from harness.cli import app
from harness.launcher import HostUnavailable, Launcher
from harness.modelfacts import model_facts
from harness.store import Writer, dump
from tests.interpreters import ROOT
from tests.projects import paramatrix
from tests.toys import cell_record, planned, run_record

SNAPSHOTS = ROOT / "tests" / "config_snapshots"
VALID = "model: m\ndecoder: {top_k: 5, do_sample: true}\n"
WARNED = "model: m\ndecoder: {top_k: 5, do_sample: false}\n"


def call(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def described(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    """Let every backend's interpreter answer with a recorded snapshot."""
    snapshot = {**json.loads((SNAPSHOTS / f"{name}.json").read_text()), **changes}
    snapshot.pop("model", None)
    monkeypatch.setattr(Launcher, "describe", lambda *_: snapshot)


def written(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [(VALID, [], 0), (WARNED, [], 0), (WARNED, ["--strict"], 1), ("modell: m\n", [], 1)],
)
def test_validate_exits_with_the_verdict(text: str, options: list[str], code: int, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    done = call("validate", *options, file)
    assert done.exit_code == code
    assert f"{file}: {'invalid' if code else 'valid'}" in done.stdout
    assert call("validate", *options, "-", stdin=text).exit_code == code


def test_validate_exits_2_for_what_cannot_be_read_and_for_nothing() -> None:
    assert call("validate", "no/such/file").exit_code == 2
    assert call("validate").exit_code == 2


def test_validate_shows_warnings_and_prints_json_for_machines(tmp_path: Path) -> None:
    file = written(tmp_path, WARNED)
    assert "warning: decoder.top_k" in call("validate", file).stdout
    (row,) = json.loads(call("validate", "--json", file).stdout)
    assert (row["status"], [item["rule"] for item in row["warnings"]]) == ("valid", ["decoding.greedy_top_k"])


@pytest.mark.parametrize("name", ["results.jsonl", "energy.jsonl"])
def test_validate_reads_results_too(name: str) -> None:
    file = f"reports/{name}"
    done = call("validate", file, "matrix/recommended/1-memory-constrained.yaml")
    assert done.exit_code == 0, done.output
    assert re.match(rf"{file}: valid \(\d+ cells of \d+ runs?\)\nmatrix/recommended/", done.stdout)


def test_validate_names_each_line_of_results_that_is_no_record(tmp_path: Path) -> None:
    cell = dump(cell_record("r", "streaming=True"))
    header = dump(run_record("r", planned("streaming=True")))
    bad = cell.replace(b'"verdict":"pass"', b'"verdict":"fail"')
    file = tmp_path / "results.jsonl"
    file.write_bytes(cell + header + bad + cell + b"\xff\0\n" + b'{"record":"ce')
    before = file.read_bytes()
    done = call("validate", str(file))
    lines = done.stdout.splitlines()
    assert (done.exit_code, lines[-1]) == (1, f"{file}: invalid (4 problems)")
    for line, (number, words) in zip(
        lines,
        [
            (1, "refers to run r, which no line before it describes"),
            (3, "cause confirmed means pass, not fail"),
            (5, "not a results line"),
            (6, "the last line is torn"),
        ],
        strict=False,
    ):
        assert line.startswith(f"{file}:{number}: ")
        assert words in line
    assert file.read_bytes() == before
    (row,) = json.loads(call("validate", "--json", str(file)).stdout)
    assert (row["status"], [problem["what"] for problem in row["problems"]]) == ("invalid", lines[:-1])


def test_validate_tells_results_without_a_run_from_those_that_cannot_be_read(tmp_path: Path) -> None:
    empty, folder = tmp_path / "empty.jsonl", tmp_path / "folder.jsonl"
    empty.touch()
    folder.mkdir()
    assert call("validate", str(empty)).stdout.startswith(f"{empty}: no run is recorded in it\n")
    assert call("validate", str(empty)).exit_code == 1
    for file in (folder, tmp_path / "none.jsonl"):
        done = call("validate", str(file), str(empty))
        assert done.exit_code == 2
        assert f"{file}: error: cannot be read" in done.stdout
    assert len(json.loads(call("validate", "--json", str(folder), str(empty)).stdout)) == 2


def test_preflight_accepts_what_this_machine_can_do(tmp_path: Path) -> None:
    done = call("preflight", written(tmp_path, "model: models/tiny\nquantization: {load_in_8bit: true}\n"))
    assert (done.exit_code, "can work here" in done.stdout) == (0, True), done.output


def test_preflight_refuses_what_the_machine_cannot_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, "gtx_1060")
    file = written(tmp_path, "model: m\nquantization: {load_in_8bit: true}\n")
    done = call("preflight", file)
    assert done.exit_code == 1
    assert "your GPU (NVIDIA GeForce GTX 1060 6GB) has compute capability 6.1" in done.stdout
    found = json.loads(call("preflight", "--json", file).stdout)
    assert (found["status"], [item["rule"] for item in found["problems"]]) == (
        "problems",
        ["preflight.quantization.8bit"],
    )


def test_preflight_knows_the_size_of_a_local_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, "model: models/tiny\nfp_precision: float32\n")
    described(monkeypatch, "no_gpu", available_bytes=3_000_000)
    assert "not enough free memory" in call("preflight", file).stdout
    described(monkeypatch, "no_gpu", available_bytes=4_000_000)
    assert call("preflight", file).exit_code == 0


def test_a_preflight_warning_alone_does_not_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, "two_gpus")
    done = call("preflight", written(tmp_path, "model: m\nquantization: {load_in_4bit: true}\n"))
    assert (done.exit_code, "warning: quantization.load_in_4bit" in done.stdout) == (0, True), done.output


@pytest.mark.parametrize(("text", "code"), [("model: ''\n", 1), (None, 2)])
def test_preflight_of_an_invalid_or_missing_file_says_what_validate_says(
    text: str | None, code: int, tmp_path: Path
) -> None:
    file = written(tmp_path, text) if text else str(tmp_path / "missing")
    done = call("preflight", file)
    assert (done.exit_code, done.stdout) == (code, call("validate", file).stdout)


def test_preflight_for_a_backend_without_an_environment_is_a_problem_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any) -> None:
        raise HostUnavailable("no such interpreter")

    monkeypatch.setattr(Launcher, "describe", absent)
    done = call("preflight", written(tmp_path, "model: m\nbackend: vllm\n"))
    assert done.exit_code == 1
    assert "no such interpreter" in done.stdout


def test_the_real_interpreter_tells_what_memory_is_available(pytorch_python: str) -> None:
    snapshot = Launcher(command=(pytorch_python,)).describe("pytorch")
    available, total = snapshot["available_bytes"], snapshot["memory_bytes"]
    assert isinstance(available, int)
    assert isinstance(total, int)
    assert 0 < available <= total


def test_model_facts_come_from_the_headers_of_the_weights() -> None:
    facts = model_facts(str(ROOT / "models/tiny"))
    assert facts is not None
    size = (ROOT / "models/tiny/model.safetensors").stat().st_size
    weights = facts["weight_bytes"]
    assert isinstance(weights, int)
    assert facts["parameter_count"] == weights // 4
    assert 0 < size - weights < 10_000  # the rest is the header
    assert facts["layer_types"] == ["Embedding", "Linear", "Vector"]
    modules = facts["modules"]
    assert isinstance(modules, list)
    assert "model.layers.0.self_attn.q_proj" in modules


@pytest.mark.parametrize("content", [b"", b"\x08", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}"])
def test_weights_that_cannot_be_read_give_no_facts(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert model_facts(str(tmp_path)) is None
    assert model_facts("org/name") is None


def test_stored_claims_are_shown_as_a_table_without_running_anything() -> None:
    done = call("claims", "--stored", "--backend", "pytorch")
    assert done.exit_code == 0, done.output
    assert "rejected by validation" in done.stdout
    assert "over-strict: parallelism.pytorch_pipeline" in done.stdout
    stored = json.loads(call("claims", "--stored", "--json").stdout)
    assert stored["pytorch"] == read(ROOT / "reports/claims.json").backends["pytorch"].model_dump(mode="json")


RULE = "decoding.sampling_at_temperature_zero"


def test_stored_claims_of_one_rule_are_shown_with_both_examples() -> None:
    done = call("claims", "--stored", "--backend", "pytorch", "--rule", RULE, "--rule", "beams.streaming")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("pytorch: 2 rules, ")
    assert f"agrees: {RULE} (witness {{" in done.stdout
    assert f"agrees: {RULE} (neighbour {{" in done.stdout
    found = json.loads(call("claims", "--stored", "--json", "--rule", RULE).stdout)
    assert {claim["rule"] for claims in found.values() for claim in claims["claims"]} == {RULE}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rule", "decoding.sampling_temperature_zero"], "'decoding.sampling_temperature_zero': expected one of "),
        (["--rule", "decoding.sampling_temperature_zero"], f", like {RULE}, "),
        (["--rule", "backends.vllm_section", "--backend", "vllm"], "backends.vllm_section: no rule of vllm"),
    ],
)
def test_a_rule_that_cannot_be_checked_is_told_with_the_likest(options: list[str], words: str) -> None:
    done = call("claims", "--stored", *options)
    assert done.exit_code != 0
    assert isinstance(done.exception, ClaimsError)
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)


def test_one_rule_is_checked_alone_and_no_file_is_changed(pytorch_python: str, tmp_path: Path) -> None:
    table = f"""
        [tool.paramatrix]
        declarations = "matrix"
        templates = {json.dumps(str(ROOT / "templates"))}
        [tool.paramatrix.launchers]
        pytorch = {json.dumps([pytorch_python])}
    """
    (tmp_path / "pyproject.toml").write_text(textwrap.dedent(table))
    done = paramatrix(tmp_path, "claims", "--backend", "pytorch", "--rule", RULE)
    assert done.returncode == 0, done.stderr
    assert f"agrees: {RULE} (witness {{" in done.stdout
    assert done.stderr.count("witness ") == 1, done.stderr
    assert not (tmp_path / "reports").exists()


def test_report_writes_every_page_from_results_alone(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    writer = Writer(results)
    writer.append(run_record("r", planned("streaming=True")))
    writer.append(cell_record("r", "streaming=True"))
    writer.close()
    done = call("report", "--results", str(results))
    assert done.exit_code == 0, done.output
    pages = [Path(line) for line in done.stdout.splitlines()]
    assert [page.name for page in pages] == ["parameter-support-matrix.md", "invalid-combinations.md", "matrix.html"]
    first = [page.read_bytes() for page in pages]
    call("report", "--results", str(results))
    assert [page.read_bytes() for page in pages] == first
    assert "| Streaming (TTFT/ITL) | ✅ |" in pages[1].read_text()
