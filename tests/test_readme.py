"""The README: every command that it shows exists with its options, every file that it names is there."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest
import typer.main

from harness.cli import app
from tests.projects import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown() -> Iterator[list[str]]:
    """Every command in words: those of the blocks and those within sentences."""
    lines = [line for kind, block in BLOCK.findall(TEXT) if kind == "console" for line in block.splitlines()]
    within = re.findall(r"`((?:make|\.venv/bin/\w+) [^`]*)`", BLOCK.sub("", TEXT))
    for line in [*lines, *within]:
        for part in re.split(r"&&|>", line):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words:
                yield words


def of(program: str) -> list[list[str]]:
    found = [words[1:] for words in shown() if words[0] == program]
    assert found
    return found


def dry_run(words: list[str]) -> str:
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("words", of("make"), ids=" ".join)
def test_every_target_exists_and_every_variable_changes_what_it_does(words: list[str]) -> None:
    told = dry_run(words)
    for word in words[1:]:
        assert dry_run([other for other in words if other != word]) != told, f"{word} is without effect"


@pytest.mark.parametrize("words", of(".venv/bin/paramatrix"), ids=" ".join)
def test_every_command_exists_with_its_options(words: list[str]) -> None:
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_every_file_that_is_linked_or_called_is_there() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", TEXT)
    called = [word for words in shown() for word in words if re.match(r"(?:scripts|docker|matrix)\b", word)]
    assert len(linked) > 10
    assert not [name for name in [*linked, *called] if not (ROOT / name).exists()]


def test_no_line_is_too_long_but_those_of_tables() -> None:
    assert not [line for line in TEXT.splitlines() if len(line) > 120 and not line.startswith("|")]
