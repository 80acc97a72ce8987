"""Validation of config files: read, judge, report.

Exit codes: 0 every file is valid; 1 some file was read but is no valid config; 2 some file could
not be read as text at all (missing, forbidden, a folder, too large, not UTF-8).
"""

import dataclasses
import json as json_module
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ValidationError

from harness.config import yaml_text
from harness.config.experiment import ExperimentConfig
from harness.config.flat import to_plain
from harness.config.problems import Problem, problems_of, warnings_for

__all__ = [
    "Report",
    "dump_yaml",
    "load_config",
    "render",
    "render_problems",
    "to_json",
    "validate_files",
    "validate_text",
]

_MOST_BYTES = 1 << 20
_EXIT = {"valid": 0, "invalid": 1, "unreadable": 2}


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on one file; ``config`` is there if it is valid."""

    name: str
    status: Literal["valid", "invalid", "unreadable"]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    config: ExperimentConfig | None = None

    @property
    def exit_code(self) -> int:
        """0 valid, 1 invalid, 2 unreadable."""
        return _EXIT[self.status]


def validate_text(text: str | bytes, name: str, *, strict: bool = False) -> Report:
    """Judge the text of one config file. With ``strict``, warnings are errors."""
    try:
        parsed = _parsed(text)
    except UnicodeDecodeError as error:
        return _unreadable(
            name,
            f"byte {error.start} is {error.object[error.start]:#04x}",
            "UTF-8 text",
            "save the file as UTF-8",
        )
    except yaml_text.NotYaml as error:
        return Report(name, "invalid", (error.problem,))
    try:
        config = ExperimentConfig.model_validate(parsed.data)
    except ValidationError as error:
        return Report(name, "invalid", _located(problems_of(error), parsed))
    warnings = _located(warnings_for(config), parsed)
    if strict and warnings:
        errors = tuple(dataclasses.replace(item, severity="error") for item in warnings)
        return Report(name, "invalid", errors)
    return Report(name, "valid", (), warnings, config)


def _parsed(text: str | bytes) -> yaml_text.Parsed:
    content = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    parsed = yaml_text.parse(content)
    if parsed.data is None:
        raise yaml_text.NotYaml(Problem("", "empty file", "nothing", "a mapping", "write at least `model: …`", line=1))
    if not isinstance(parsed.data, dict):
        kind = type(parsed.data).__name__
        raise yaml_text.NotYaml(Problem("", "not a mapping", kind, "a mapping", "write `field: value` lines", line=1))
    return parsed


def _located(problems: Iterable[Problem], parsed: yaml_text.Parsed) -> tuple[Problem, ...]:
    located = [dataclasses.replace(problem, line=parsed.line_of(problem.path)) for problem in problems]
    return tuple(sorted(located, key=lambda problem: problem.line or 0))


def _unreadable(name: str, actual: str, expected: str, fix: str) -> Report:
    return Report(name, "unreadable", (Problem("", "cannot be read", actual, expected, fix),))


def _validate_path(path: str, *, strict: bool, stdin: BinaryIO | None) -> Report:
    name = "<stdin>" if path == "-" else path
    try:
        if path == "-":
            content = (stdin or sys.stdin.buffer).read(_MOST_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or str(error)
        return _unreadable(name, told, "a readable file", "check the path and its permissions")
    if len(content) > _MOST_BYTES:
        return _unreadable(name, f"more than {_MOST_BYTES} bytes", "a config file", "give a smaller file")
    return validate_text(content, name, strict=strict)


def validate_files(
    paths: Sequence[str], *, strict: bool = False, json: bool = False, stdin: BinaryIO | None = None
) -> tuple[int, str]:
    """Judge files (``-`` is standard input); return the exit code and the text to print."""
    if not paths:
        return 2, "no file given; expected paths of config files, or - for standard input\n"
    reports = [_validate_path(path, strict=strict, stdin=stdin) for path in paths]
    code = max(report.exit_code for report in reports)
    return code, to_json(reports) if json else render(reports)


def load_config(path: str | Path) -> ExperimentConfig:
    """Read one config file. Raises ``ValueError`` whose text is the rendered report."""
    report = _validate_path(str(path), strict=False, stdin=None)
    if report.config is None:
        raise ValueError(render([report]).rstrip())
    return report.config


def dump_yaml(config: ExperimentConfig) -> str:
    """Write what a config states as YAML that validates to an equal config."""
    return yaml_text.dump(to_plain(config))


def render(reports: Iterable[Report]) -> str:
    """Return reports as text for people: a headline for each problem, then what and how."""
    lines: list[str] = []
    for report in reports:
        lines += render_problems(report.name, (*report.problems, *report.warnings))
        count = len(report.problems)
        verdict = f"{count} problem{'s' * (count != 1)}" if count else "no problems"
        if report.warnings:
            verdict += f", {len(report.warnings)} warning{'s' * (len(report.warnings) != 1)}"
        lines.append(f"{report.name}: {report.status} ({verdict})")
    return "\n".join(lines) + "\n"


def render_problems(name: str, problems: Iterable[Problem]) -> list[str]:
    """Return the lines that tell people about problems of the file called ``name``."""
    lines: list[str] = []
    for problem in problems:
        place = name if problem.line is None else f"{name}:{problem.line}"
        subject = f"{problem.path}: " if problem.path else ""
        lines.append(f"{place}: {problem.severity}: {subject}{problem.what}")
        lines.append(f"    found:    {problem.actual}")
        lines.append(f"    expected: {problem.expected}")
        if problem.reason:
            lines.append(f"    why:      {problem.reason}")
        lines.append(f"    fix:      {problem.fix}")
    return lines


def to_json(reports: Iterable[Report]) -> str:
    """Return reports as a JSON array, one object for each file."""
    rows: list[dict[str, Any]] = [
        {
            "file": report.name,
            "status": report.status,
            "problems": [problem.to_json() for problem in report.problems],
            "warnings": [problem.to_json() for problem in report.warnings],
        }
        for report in reports
    ]
    return json_module.dumps(rows, indent=2, ensure_ascii=False) + "\n"
