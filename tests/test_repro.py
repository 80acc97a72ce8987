"""Reproductions: scripts made of records, which real libraries run without the harness, to the recorded outcome."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import repro, store
from harness.declare import Seen, Shown
from harness.forwarded import brief, kept, whole
from harness.judge import judge
from harness.records import CellRecord
from harness.repro.source import WIDTH, statement
from harness.rests import rests_on
from harness.verdict import Cause
from tests import interpreters, projects, toys
from tests.interpreters import ROOT
from tests.projects import paramatrix

TEMPLATES = ROOT / "templates"
COMMITTED = ROOT / "reports" / "results.jsonl"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

TELLS = {
    "pytorch": {
        "pytorch-decoder.top_k=1": Cause.CONFIRMED,
        "pytorch-pytorch.cache_implementation=hybrid": Cause.IGNORED,
        "pytorch-decoder.temperature=0.0": Cause.REJECTED,
    },
    "vllm": {
        "vllm-decoder.top_k=1": Cause.CONFIRMED,
        "vllm-vllm.kv_cache_dtype=int8_per_token_head": Cause.WRONG_OUTPUT,
        "vllm-vllm.block_size=8": Cause.REJECTED,
    },
}
"""Cells whose causes are known, of the kinds that a script has to show."""

DRIVER = """
import runpy, sys
for path in sys.argv[1:]:
    sys.argv = [path]
    print(f"\\n{path}")
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        print(f"exit {end.code}")
"""
"""Runs several scripts in one interpreter, which then imports the library once."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> store.Results:
    """The cells of `TELLS`, measured by the real libraries on this machine."""
    folder = tmp_path_factory.mktemp("measured")
    cells = [f"--cell={cell}" for cells in TELLS.values() for cell in cells]
    results = folder / "results.jsonl"
    done = paramatrix(ROOT, "run", "--backends", ",".join(TELLS), *cells, "--results", str(results))
    found = store.read(results)
    seen = {backend: {name: found.cells[name].cause for name in cells} for backend, cells in TELLS.items()}
    assert seen == TELLS, done.stdout + done.stderr
    return found


def script(results: store.Results, cell: str) -> str:
    record = results.cells[cell]
    return repro.script(record, results.runs[record.run], TEMPLATES)


def run(python: Path, scripts: Sequence[Path]) -> list[list[str]]:
    """The lines that each script prints, by an interpreter that sees neither the harness nor what we set for it."""
    done = subprocess.run(
        [str(python), "-I", "-c", DRIVER, *map(str, scripts)],
        cwd=ROOT,
        env={**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **OFFLINE},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    parts = done.stdout.split("\n" + str(scripts[0].parent))
    assert len(parts) == len(scripts) + 1, done.stdout
    return [part.splitlines() for part in parts[1:]]


@pytest.fixture(scope="module")
def pytorch_told(measured: store.Results, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What PyTorch's scripts print, those of `TELLS` by their cells, and two that were changed, by what was."""
    texts = {cell: script(measured, cell) for cell in TELLS["pytorch"]}
    fine, refused = texts["pytorch-decoder.top_k=1"], texts["pytorch-decoder.temperature=0.0"]
    control = measured.cells["pytorch-decoder.top_k=1"].evidence.control
    assert control is not None
    tokens = " ".join(map(str, control["outputs"]["0"][0]))
    texts["other tokens"] = fine.replace(tokens, "1 2 3")
    texts["no error"] = refused.replace("return run(temperature=0.0)", "return run()")
    # a run whose process died is recorded in these words
    crashed = re.sub(r'"error": "[^"]*"', '"error": "the process died"', refused)
    texts["crash"] = crashed.replace("return run(temperature=0.0)", 'return __import__("os").abort()')
    assert len(set(texts.values())) == len(texts)
    folder = tmp_path_factory.mktemp("pytorch")
    return dict(zip(texts, run(interpreters.pytorch(), written(folder, texts.values())), strict=True))


def written(folder: Path, texts: Iterable[str]) -> list[Path]:
    files = [(folder / f"{number}.py", text) for number, text in enumerate(texts)]
    for file, text in files:
        file.write_text(text, encoding="utf-8")
    return [file for file, _ in files]


def check(told: Mapping[str, list[str]], backend: str) -> None:
    for cell, cause in TELLS[backend].items():
        lines = told[cell]
        assert f"reproduced: {cause.outcome.value}: {cause.value}" in lines, "\n".join(lines)
        assert lines[-1] == "exit 0"
        assert any(line.startswith("  error: ") for line in lines) is (cause is Cause.REJECTED)


def test_pytorch_s_scripts_give_the_recorded_outcome(pytorch_told: dict[str, list[str]]) -> None:
    check(pytorch_told, "pytorch")
    assert "  caches.0.class: DynamicCache" in pytorch_told["pytorch-pytorch.cache_implementation=hybrid"]


def test_a_crash_of_one_run_is_told_and_does_not_end_the_script(pytorch_told: dict[str, list[str]]) -> None:
    lines = pytorch_told["crash"]
    assert lines[-6:-3] == ["treated", "  error: the process died", "  exit code: -6"], "\n".join(lines)
    assert lines[-1] == "exit 0"


def test_vllm_s_scripts_give_the_recorded_outcome(measured: store.Results, tmp_path: Path) -> None:
    files = written(tmp_path, [script(measured, cell) for cell in TELLS["vllm"]])
    told = dict(zip(TELLS["vllm"], run(interpreters.vllm(), files), strict=True))
    check(told, "vllm")
    lossy = told["vllm-vllm.kv_cache_dtype=int8_per_token_head"]
    assert "  kv_cache.dtypes: ['torch.int8']" in lossy
    assert any(line.startswith("relative error of the logits: 0.") for line in lossy)


@pytest.mark.parametrize("changed", ["other tokens", "no error"])
def test_a_run_that_gives_something_else_is_never_called_reproduced(
    pytorch_told: dict[str, list[str]], changed: str
) -> None:
    lines = pytorch_told[changed]
    assert any(line.startswith("NOT reproduced: ") for line in lines), "\n".join(lines)
    assert not any(line.startswith("reproduced: ") for line in lines)
    assert lines[-1] == "exit 1"


def test_a_script_uses_the_library_alone_and_shows_what_is_handed_over(measured: store.Results) -> None:
    text = script(measured, "pytorch-decoder.temperature=0.0")
    modules = {
        alias.name.partition(".")[0] if isinstance(node, ast.Import) else str(node.module).partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert modules == {"transformers", "multiprocessing", "os", "sys", "traceback", "importlib"}
    assert "def control():\n    return run()\n" in text
    assert "def treated():\n    return run(temperature=0.0)\n" in text
    assert 'MODEL = [*sys.argv[1:], "models/tiny"][0]' in text
    assert str(ROOT) not in text


def test_the_command_prints_the_script(measured: store.Results, tmp_path: Path) -> None:
    cell = "vllm-vllm.block_size=8"
    results = tmp_path / "results.jsonl"
    record = measured.cells[cell]
    results.write_bytes(store.dump(measured.runs[record.run]) + store.dump(record))
    done = paramatrix(ROOT, "repro", cell, "--results", str(results))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", script(measured, cell))


# Of all that was measured ----------------------------------------------------------------------------------------


def test_every_committed_cell_has_a_tidy_script_or_a_reason_why_not(tmp_path: Path) -> None:
    results = store.read(COMMITTED)
    refused: dict[str, str] = {}
    written: list[Path] = []
    for number, record in enumerate(results.measured):
        try:
            text = repro.script(record, results.runs[record.run], TEMPLATES)
        except repro.NotReproducible as error:
            refused[record.cell] = str(error)
            continue
        compile(text, record.cell, "exec")
        written.append(tmp_path / f"{number}.py")
        written[-1].write_text(text, encoding="utf-8")
    assert len(written) > 300, sorted(refused.items())[:5]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", f"--line-length={WIDTH}", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[:3000] + done.stderr[:1000]
    judged = {record.cell for record in results.measured if record.verdict.value in {"pass", "fail"}}
    unexpected = {
        cell: reason
        for cell, reason in refused.items()
        if cell in judged
        and not any(
            known in reason
            for known in (
                "harness itself",
                "asynchronous engine",
                "several processes",
                "set moments",
                "cannot be spelled",
            )
        )
    }
    assert not unexpected


# What a script is made of ----------------------------------------------------------------------------------------

CALL: dict[str, Any] = {"call": "AutoTokenizer.from_pretrained", "args": ["models/tiny"], "kwargs": {}}
LOAD: dict[str, Any] = {"call": "AutoModelForCausalLM.from_pretrained", "args": ["models/tiny"], "kwargs": {}}
SEED: dict[str, Any] = {"call": "transformers.set_seed", "args": [0], "kwargs": {}}
ASK: dict[str, Any] = {"call": "tokenizer", "args": [["one"]], "kwargs": {"padding": True}}


def generate(**arguments: Any) -> dict[str, Any]:
    return {"call": "generate", "kwargs": {"input_ids": "Tensor[1, 3]:torch.int64", **arguments}}


def record(
    *calls: dict[str, Any],
    control: Sequence[Any] = (0, 1, 2, 3, generate()),
    cause: Cause = Cause.CONFIRMED,
    observed: Mapping[str, Any] | None = None,
    **more: Any,
) -> CellRecord:
    """A record of these upstream calls, of a run that gave two tokens."""
    made = toys.cell_record("r", "decoder.top_k=1", cause, **more)
    outputs = {"outputs": {"0": [[1, 2]]}}
    evidence = made.evidence.model_copy(
        update={
            "forwarded": list(calls),
            "observed": {**(made.evidence.observed or {}), **outputs, **(observed or {})},
            "control": {**(made.evidence.control or {}), **outputs, "calls": list(control)},
        }
    )
    return made.model_copy(update={"evidence": evidence})


def rendered(made: CellRecord) -> str:
    return repro.script(made, toys.run_record("r", toys.planned("decoder.top_k=1")), TEMPLATES)


PLAIN = (CALL, LOAD, SEED, ASK, generate(top_k=1))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (record(*PLAIN, cause=Cause.MISSING_HARDWARE), "nothing was learned about the parameter: missing_hardware"),
        (record(*PLAIN, cause=Cause.FLAKY), "its verdict is flaky"),
        (record(*PLAIN, by_harness=True), "the harness itself does what the parameter asks for"),
        (record(), "the process died before it could tell them"),
        (toys.cell_record("r", "decoder.top_k=1"), "`make matrix CELL='pytorch-decoder.top_k=1'` records them"),
        (record(*PLAIN, control=[9]), "cannot be read: 9 is neither a call nor the place of one of the 5 before it"),
        (record(*PLAIN[:4], generate(streamer="<Streamer>")), "an object that cannot be spelled: <Streamer>"),
        (record(*PLAIN[:4], generate(config={"class": "Config", "a": 1})), "a Config whose making is not recorded"),
        (record(CALL, {**LOAD, "kwargs": {"token": "<secret>"}}, *PLAIN[2:]), "what the record leaves out: <secret>"),
        (record(*PLAIN, {"call": "model.dance", "kwargs": {}}), "calls of model.dance are not written as source"),
        (record({"call": "torch.distributed.init_process_group"}, *PLAIN), "several processes"),
        (record(*PLAIN, control=[0, 1, 2, {**ASK, "args": [["other"]]}, 4]), None),
    ],
)
def test_what_no_script_can_show_is_said_with_its_reason(made: CellRecord, reason: str | None) -> None:
    if reason is None:  # two sets of prompts are no reason
        assert '["other"]' in rendered(made)
        return
    with pytest.raises(repro.NotReproducible) as refusal:
        rendered(made)
    assert reason in str(refusal.value)


def test_objects_are_written_where_they_are_handed_over_and_passes_as_a_loop() -> None:
    config = {"call": "BitsAndBytesConfig", "kwargs": {"load_in_4bit": True}}
    load = {**LOAD, "kwargs": {"quantization_config": {"class": "BitsAndBytesConfig", "more": "picture"}}}
    again = [{**SEED, "args": [seed]} for seed in (1, 2)]
    calls = (CALL, config, load, *(call for seed in again for call in (seed, ASK, generate(max_new_tokens=2))))
    outputs = {"outputs": {"1": [[1]], "2": [[2]]}}
    made = record(*calls, control=[0, LOAD, 3, 4, 5, 6, 7, 8], observed=outputs)
    made.evidence.control.update(outputs)  # type: ignore[union-attr]
    text = rendered(made)
    assert "def treated():\n    return run(quantization_config=BitsAndBytesConfig(load_in_4bit=True))\n" in text
    assert "    for seed in [1, 2]:\n        set_seed(seed)\n        inputs = tokenizer(PROMPTS, padding=True)" in text
    assert "model.generate(**inputs, max_new_tokens=2)" in text
    assert 'PROMPTS = ["one"]' in text


def test_a_crash_is_compared_by_the_death_of_the_process() -> None:
    failure = {"phase": "generate", "kind": "crashed", "type": "EngineDied", "message": "ended by SIGSEGV"}
    text = rendered(record(*PLAIN, cause=Cause.CRASHED, observed={"failure": failure}))
    assert '"treated": {"error": "the process died"}' in text


def test_a_step_that_one_run_has_alone_stays_its_own() -> None:
    """What is the last step of loading in one run only must not become a step of both."""
    compiled = {"call": "torch.compile", "args": ["<bound method forward>"], "kwargs": {"mode": "default"}}
    text = rendered(record(CALL, LOAD, compiled, SEED, ASK, generate(), control=[0, 1, 3, 4, 5]))
    before, _, after = text.partition("def treated():")
    assert 'model.forward = torch.compile(model.forward, mode="default")' in after
    assert "torch.compile" not in before.partition("def control():")[2]


def test_texts_of_a_record_cannot_break_out_of_the_script() -> None:
    nasty = 'a"""\nimport os\\N{x}\u202e\udc80 \'"'
    call = {**ASK, "args": [[nasty]]}
    reason = 'so """ and \\ it \0\u202e ends'
    made = record(CALL, LOAD, SEED, call, generate(top_k=1), control=[0, 1, 2, 3, generate()], reason=reason)
    tree = ast.parse(text := rendered(made))
    (prompts,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PROMPTS"
    ]
    assert prompts == [nasty]
    about = " ".join((ast.get_docstring(tree) or "").split())
    assert 'so """ and \\ it \ufffd\ufffd ends' in about
    assert text.replace("\ufffd", "").isascii()


@pytest.mark.parametrize("folder", ["~/m", "<tmp>/m"])
def test_a_model_that_lay_outside_of_the_project_has_to_be_named(folder: str, tmp_path: Path) -> None:
    text = rendered(record({**CALL, "args": [folder]}, {**LOAD, "args": [folder]}, *PLAIN[2:]))
    assert folder not in text
    assert told_where_no_folder_is(text, tmp_path).endswith(". Name the model's: python repro.py FOLDER\n")


def told_where_no_folder_is(text: str, folder: Path, *arguments: str) -> str:
    """The line that a script ends with in an empty folder, before it asks its library for anything."""
    (file,) = written(folder, [text])
    command = [sys.executable, "-I", str(file), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


def test_outside_of_the_checkout_a_script_says_what_it_needs_and_asks_no_hub(tmp_path: Path) -> None:
    info = toys.run_record("r", toys.planned("decoder.top_k=1")).backends["pytorch"]
    models = {"pytorch": info.model_copy(update={"model": "models/tiny", "model_hash": "0"})}
    run = toys.run_record("r", toys.planned("decoder.top_k=1")).model_copy(update={"backends": models})
    text = repro.script(record(*PLAIN), run, TEMPLATES)
    checkout = "Run this in a checkout of paramatrix, or name the model's: python repro.py FOLDER\n"
    assert told_where_no_folder_is(text, tmp_path) == f"models/tiny: no such folder in {tmp_path}. {checkout}"
    assert told_where_no_folder_is(text, tmp_path, "nowhere") == f"nowhere: no such folder in {tmp_path}. {checkout}"


def test_a_hub_id_is_no_folder_and_its_cache_is_one(tmp_path: Path) -> None:
    cached = {"kwargs": {"cache_dir": ".cache/variants/hub-1"}}
    calls = ({**CALL, "args": ["a/b"]}, {**LOAD, "args": ["a/b"]}, *PLAIN[2:])
    assert "isdir" not in rendered(record(*calls))
    text = rendered(record(calls[0], {**calls[1], **cached}, *PLAIN[2:]))
    told = told_where_no_folder_is(text, tmp_path)
    assert told.startswith(f".cache/variants/hub-1: no such folder in {tmp_path}. `make matrix FRESH=1 CELL='pytorch-")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet="ab'\" x", min_size=1), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(values)
def test_every_plain_value_is_written_as_the_literal_of_itself(value: Any) -> None:
    assert ast.literal_eval("\n".join(statement("", value))) == value


calls = st.lists(
    st.fixed_dictionaries(
        {
            "call": st.sampled_from(["Config", "load", "generate"]),
            "kwargs": st.dictionaries(
                st.sampled_from("ab"), st.integers(0, 2) | st.just({"class": "Config", "x": 1}), max_size=2
            ),
        }
    ),
    max_size=6,
)


@given(calls, calls)
def test_a_control_s_calls_are_kept_by_reference_and_come_back_whole(control: Any, treated: Any) -> None:
    short = kept(control, treated)
    assert whole(json.loads(json.dumps(short)), treated) == brief(control)
    fresh = [call for call in short if isinstance(call, dict)]
    assert all(call not in brief(treated) for call in fresh), "what the treated run has is not told again"


# What a verdict rests on -----------------------------------------------------------------------------------------


def test_the_values_that_a_probe_looks_at_are_told_and_the_verdict_stays_its_own() -> None:
    def effect(run: Seen, control: Seen, value: Any) -> Shown:
        del value
        cache = run.read_back["cache"]
        assert isinstance(cache, dict)
        kinds = sorted(cache["kinds"])
        same = run.observation["resolved"].get("drawn") == control.read_back.get("absent")
        return Shown(cache["size"] == 2, f"{kinds} {same}")

    cell = toys.cell()
    cell = replace(cell, probe=replace(cell.probe, effect=effect))
    read_back: dict[str, Any] = {"cache": {"size": 2, "kinds": {"b": 1, "a": 2}, "unread": 3}, "other": 1}
    seen = replace(toys.seen(), read_back=read_back)
    seen = toys.handed_over(seen, top_k=1)
    observation: Any = {**seen.observation, "resolved": {"drawn": 1}}
    seen, control = replace(seen, observation=observation), replace(toys.seen(), observation=observation)
    control = replace(control, read_back={**read_back, "cache": {**read_back["cache"], "size": 1}})
    before = judge(cell, seen, control)
    assert rests_on(cell, seen, control) == (
        "resolved.cache.kinds",
        "resolved.drawn",
        "resolved.absent",
        "resolved.cache.size",
    )
    assert judge(cell, seen, control) == before
    assert before.verdict.cause is Cause.CONFIRMED


def test_the_command_says_what_it_cannot_show(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    assert paramatrix(folder, "run").returncode == 0
    for cell, code, told in (
        ("pytorch-decoder.top_k=1", 1, "calls of toy.load are not written as source"),
        ("pytorch-decoder.top_p=0.5", 1, "nothing was learned about the parameter: missing_hardware"),
        ("pytorch-decoder.top_k=2", 2, "pytorch-decoder.top_k=2 is not a cell of it"),
    ):
        done = paramatrix(folder, "repro", cell)
        assert (done.returncode, done.stdout) == (code, "")
        assert told in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_results_made_before_scripts_were_can_still_be_read(tmp_path: Path) -> None:
    line = json.loads(store.dump(toys.cell_record("r", "decoder.top_k=1")))
    del line["by_harness"]
    file = tmp_path / "results.jsonl"
    run_line = store.dump(toys.run_record("r", toys.planned("decoder.top_k=1")))
    file.write_bytes(run_line + json.dumps(line).encode() + b"\n")
    assert store.read(file).cells["pytorch-decoder.top_k=1"].by_harness is False
