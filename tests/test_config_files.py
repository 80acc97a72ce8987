"""Config files: one clear problem for each kind of bad text, lines, exit codes."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest

from harness.config import ExperimentConfig
from harness.config.files import dump_yaml, load_config, render, validate_files, validate_text

VALID = "model: m\ndecoder:\n  top_k: 5\n  do_sample: true\n"
WARNED = "model: m\ndecoder:\n  do_sample: false\n  top_k: 5\n"

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

BROKEN: dict[str, tuple[str | bytes, str, int | None]] = {
    "empty": ("", "empty file", 1),
    "only a comment": ("# nothing\n", "empty file", 1),
    "a list": ("- a\n", "not a mapping", 1),
    "a scalar": ("42", "not a mapping", 1),
    "a duplicate key": ("model: m\nstreaming: true\nmodel: n\n", "duplicate key 'model'", 3),
    "a nested duplicate key": ("model: m\ndecoder:\n  top_k: 1\n  top_k: 2\n", "duplicate key 'top_k'", 4),
    "a tab": ("model: m\ndecoder:\n\ttop_k: 1\n", "a tab where YAML wants spaces", 3),
    "an alias bomb": (BOMB, "aliases multiply", 1),
    "a recursive alias": ("model: &a [*a]\n", "an alias contains itself", 1),
    "deep nesting": ("[" * 3000, "nested too deeply", None),
    "a python tag": ("model: !!python/object/apply:os.system ['true']\n", "a kind that configs do not have", 1),
    "a wrong core tag": ("model: m\nrandom_seed: !!int abc\n", "a kind that configs do not have", 2),
    "a huge integer": (f"model: m\nrandom_seed: {'9' * 6000}\n", "number with too many digits", 2),
    "two documents": ("model: m\n---\nmodel: n\n", "more than one document", 2),
    "an open bracket": ("model: [m\n", "not YAML", 2),
    "a control character": ("model: m\x00\n", "not YAML", None),
    "a mapping as key": ("model: m\n? {a: b}\n: c\n", "a kind that configs do not have", 2),
    "a null key": ("model: m\n~: c\n", "a key is neither", 2),
    "a merged scalar": ("model: m\n<<: 3\n", "'<<' merges something other", 2),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_bad_text_gets_one_problem_that_says_what_and_how_to_fix_it(kind: str) -> None:
    text, what, line = BROKEN[kind]
    start = time.perf_counter()
    report = validate_text(text, "c.yaml")
    assert time.perf_counter() - start < 5
    assert report.status == "invalid"
    (problem,) = report.problems
    assert what in problem.what
    assert problem.line == line
    assert problem.actual
    assert problem.expected
    assert problem.fix


def test_text_that_is_not_utf_8_is_unreadable_and_says_which_byte() -> None:
    report = validate_text(b"model: \xff\n", "c.yaml")
    assert (report.status, report.exit_code) == ("unreadable", 2)
    assert report.problems[0].actual == "byte 7 is 0xff"


def test_a_byte_order_mark_is_no_problem() -> None:
    assert validate_text(b"\xef\xbb\xbfmodel: m\n", "c.yaml").status == "valid"


def test_problems_name_path_line_actual_expected_and_fix() -> None:
    text = (
        "model: m\n"  # 1
        "backend: vllm\n"
        "decoder:\n"
        "  top_p: .nan\n"  # 4
        "  temperature: true\n"
        "  top_k: '5'\n"  # 6
        "vllm: {block_sizes: 8}\n"
        "streaming: yes\n"  # 8
        "random_seed: 99999999999999999999\n"
        "pytorch: {use_cache: true}\n"  # 10
    )
    report = validate_text(text, "c.yaml")
    found = [(item.line, item.path, item.actual, item.fix) for item in report.problems]
    assert found == [
        (4, "decoder.top_p", "nan (float)", "write a number, at least 0, at most 1"),
        (5, "decoder.temperature", "True (bool)", "write a number, at least 0, at most 1000"),
        (6, "decoder.top_k", "'5' (str)", "write an integer, at least 0, at most 2147483647"),
        (7, "vllm.block_sizes", "8 (int)", "use `vllm.block_size`"),
        (8, "streaming", "'yes' (str)", "write true or false"),
        (9, "random_seed", "99999999999999999999 (int)", "write an integer, at least 0, at most 4294967295"),
        (
            10,
            "pytorch",
            '`backend` is "vllm", `pytorch` is set (`pytorch.use_cache`)',
            "Set backend='pytorch', or remove the pytorch section",
        ),
    ]


def test_a_section_that_is_no_mapping_and_a_missing_model_are_named() -> None:
    found = {item.path: item.fix for item in validate_text("decoder: 3\n", "c.yaml").problems}
    assert found == {"model": "add `model`", "decoder": "write a mapping of settings"}


def test_merge_keys_and_aliases_work_and_explicit_keys_win() -> None:
    text = "model: m\ndecoder: &d {top_k: 1, do_sample: true}\npassthrough_kwargs: {x: {<<: *d, top_k: 2}}\n"
    config = validate_text(text, "c.yaml").config
    assert config is not None
    assert config.passthrough_kwargs == {"x": {"top_k": 2, "do_sample": True}}


def test_yaml_1_1_oddities_stay_strings_and_exponents_are_numbers() -> None:
    text = "model: m\npassthrough_kwargs: {a: yes, b: 2024-01-01, c: 1e3, d: 010, e: 1:30, f: 0x10}\n"
    config = validate_text(text, "c.yaml").config
    assert config is not None
    assert config.passthrough_kwargs == {"a": "yes", "b": "2024-01-01", "c": 1000.0, "d": 10, "e": "1:30", "f": "0x10"}


def test_warnings_do_not_invalidate_unless_strict() -> None:
    relaxed, strict = validate_text(WARNED, "c.yaml"), validate_text(WARNED, "c.yaml", strict=True)
    assert (relaxed.status, [(w.rule, w.line) for w in relaxed.warnings]) == ("valid", [("decoding.greedy_top_k", 4)])
    assert (strict.status, [(p.rule, p.severity) for p in strict.problems]) == (
        "invalid",
        [("decoding.greedy_top_k", "error")],
    )


@pytest.mark.parametrize(
    ("names", "strict", "code"),
    [
        (["valid"], False, 0),
        (["valid", "valid"], True, 0),
        (["warned"], False, 0),
        (["warned"], True, 1),
        (["valid", "invalid"], False, 1),
        (["invalid", "missing"], False, 2),
        (["folder"], False, 2),
        (["binary"], False, 2),
        (["big"], False, 2),
        ([], False, 2),
    ],
)
def test_the_exit_code_is_that_of_the_worst_file(names: list[str], strict: bool, code: int, tmp_path: Path) -> None:
    (tmp_path / "valid").write_text(VALID)
    (tmp_path / "warned").write_text(WARNED)
    (tmp_path / "invalid").write_text("model: m\nmodell: m\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "big").write_bytes(b"#" * (1 << 20) + b"\n")
    (tmp_path / "folder").mkdir()
    found, text = validate_files([str(tmp_path / name) for name in names], strict=strict)
    assert found == code
    for name in names:
        assert str(tmp_path / name) in text


def test_standard_input_is_a_dash() -> None:
    code, text = validate_files(["-"], stdin=io.BytesIO(b"model: m\nmodell: n\n"))
    assert code == 1
    assert text.startswith("<stdin>:2: error: modell: unknown field\n")
    assert "use `model`" in text


def test_of_many_fields_those_like_the_unknown_one_are_named() -> None:
    (problem,) = validate_text("model: m\nbackend: vllm\nvllm: {max_num_seq: 8}\n", "c.yaml").problems
    assert problem.fix == "use `vllm.max_num_seqs`"
    names, _, more = problem.expected.removeprefix("one of ").partition(" and ")
    assert names.split(", ")[0] == "vllm.max_num_seqs"
    assert len(names.split(", ")) == 8
    assert re.fullmatch(r"\d+ more", more)


def test_json_output_has_every_field_of_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: m\npytorch: {torch_compile_mode: default}\n")
    code, text = validate_files([str(path)], json=True)
    (row,) = json.loads(text)
    assert (code, row["file"], row["status"], row["warnings"]) == (1, str(path), "invalid", [])
    (problem,) = row["problems"]
    assert problem["rule"] == "compile.mode_without_compile"
    assert problem["parameters"] == ["pytorch.torch_compile_mode", "pytorch.torch_compile"]
    assert problem["line"] == 2
    assert all(problem[key] for key in ("path", "what", "actual", "expected", "fix", "reason", "severity"))


def test_rendered_problems_read_as_file_line_severity_path() -> None:
    text = render([validate_text("model: m\ndecoder: {top_p: 2}\n", "c.yaml")])
    assert text.splitlines() == [
        "c.yaml:2: error: decoder.top_p: value out of range",
        "    found:    2 (int)",
        "    expected: a number, at least 0, at most 1",
        "    fix:      write a number, at least 0, at most 1",
        "c.yaml: invalid (1 problem)",
    ]


def test_a_config_is_loaded_from_a_file_or_the_report_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VALID)
    assert load_config(path) == ExperimentConfig.model_validate(
        {"model": "m", "decoder": {"top_k": 5, "do_sample": True}}
    )
    path.write_text("model: ''\n")
    with pytest.raises(ValueError, match=r"c\.yaml:1: error: model"):
        load_config(path)


def test_dumped_yaml_quotes_what_any_yaml_reader_would_mistake() -> None:
    config = ExperimentConfig(model="yes", passthrough_kwargs={"a": "1e3", "b": "null", "c": "2024-01-01", "d": "<<"})
    text = dump_yaml(config)
    assert "'yes'" in text
    assert validate_text(text, "c.yaml").config == config
