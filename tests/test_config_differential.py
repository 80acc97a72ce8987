"""Accepted configs against upstream's own objects, built in the PyTorch backend's interpreter."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings

from harness.backends.pytorch.arguments import GENERATE
from harness.config import config_from_settings, settings, warnings_for
from tests import interpreters
from tests.config_strategies import flat_settings

LEDGER: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "differential_ledger.yaml").read_text())


@dataclass(frozen=True)
class Answered:
    """What upstream and the adapter made of settings, and what our validation warned of."""

    settings: dict[str, Any]
    warned: set[str]
    answer: dict[str, Any]

    def of(self, kind: str) -> str:
        return self.answer.get(kind) or ""


def accepted_configs(count: int) -> list[dict[str, Any]]:
    """Settings of valid configs: some with a few fields, some with all."""
    drawn: list[dict[str, Any]] = []

    @hypothesis_settings(max_examples=count, phases=[Phase.generate], derandomize=True, database=None, deadline=None)
    @given(flat_settings("pytorch") | flat_settings("pytorch", every=True))
    def collect(example: tuple[str, dict[str, Any]]) -> None:
        drawn.append(example[1])

    collect()
    return drawn


def answers(python: str, flats: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One subprocess answers for all settings."""
    done = subprocess.run(
        [python, "-m", "tests.backend_pytorch.differential"],
        input="".join(json.dumps(flat) + "\n" for flat in flats),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=interpreters.ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(flats)
    return found


def asked(python: str, flats: list[dict[str, Any]]) -> list[Answered]:
    configs = [config_from_settings(flat, model="m") for flat in flats]
    stated = [settings(config) for config in configs]
    return [
        Answered(flat, {path for item in warnings_for(config) for path in item.parameters}, answer)
        for config, flat, answer in zip(configs, stated, answers(python, stated), strict=True)
    ]


@pytest.fixture(scope="module")
def answered(pytorch_python: str) -> list[Answered]:
    return asked(pytorch_python, accepted_configs(400))


def in_ledger(kind: str, says: str) -> bool:
    return any(entry["answer"] == kind and entry["says"] in says for entry in LEDGER)


def unexplained(answered: list[Answered], kind: str) -> list[tuple[dict[str, Any], str]]:
    return [(item.settings, item.of(kind)) for item in answered if item.of(kind) and not in_ledger(kind, item.of(kind))]


def test_the_batch_is_large_and_reaches_every_field(answered: list[Answered]) -> None:
    assert len(answered) >= 200
    reached = {path for item in answered if "refused" not in item.answer for path in item.settings}
    assert set(GENERATE) <= reached


def test_the_adapter_takes_every_accepted_config(answered: list[Answered]) -> None:
    assert unexplained(answered, "refused") == []


def test_every_accepted_config_builds_a_generation_config_that_validates(answered: list[Answered]) -> None:
    assert unexplained(answered, "generation") == []


def test_what_strict_upstream_validation_objects_to_we_have_warned_of(answered: list[Answered]) -> None:
    silent = []
    for item in answered:
        complaints = re.findall(r"^- (`(\w+)`.*)$", item.of("strict"), re.MULTILINE)
        assert bool(complaints) == bool(item.of("strict")), item.of("strict")
        warned = {GENERATE.get(path) for path in item.warned}
        silent += [says for says, flag in complaints if flag not in warned and not in_ledger("strict", says)]
    assert silent == []


def test_no_accepted_field_is_dropped_or_changed_on_its_way_upstream(answered: list[Answered]) -> None:
    taken = [item for item in answered if "refused" not in item.answer]
    assert [(item.settings, item.answer["unread"]) for item in taken if item.answer["unread"]] == []
    for item in taken:
        # enabled=False is told upstream by num_beams=1, whatever else was asked for
        off = item.settings.get("decoder.beam_search.enabled") is False
        wrong = [path for path in item.answer["changed"] if not (off and GENERATE.get(path) == "num_beams")]
        assert wrong == [], item.settings


def test_the_comparison_notices_fields_that_nobody_reads_and_objects_that_refuse(pytorch_python: str) -> None:
    spoilt: list[dict[str, Any]] = [
        {"decoder.nonsense": 1},
        {"quantization.load_in_4bit": True, "quantization.load_in_8bit": True},
        {"max_output_tokens": -1},
        {"pytorch.num_beams": 2, "decoder.beam_search.enabled": False},
    ]
    unread, both, short, off = answers(pytorch_python, spoilt)
    assert unread["unread"] == ["decoder.nonsense"]
    assert "load_in_4bit and load_in_8bit" in both["refused"]
    assert "max_new_tokens" in short["generation"]
    assert off["changed"] == ["pytorch.num_beams"]


def test_every_entry_of_the_ledger_has_a_reason_and_still_occurs(pytorch_python: str) -> None:
    found = asked(pytorch_python, [entry["example"] for entry in LEDGER])
    for entry, item in zip(LEDGER, found, strict=True):
        assert entry["reason"]
        assert entry["says"] in item.of(entry["answer"]), entry["id"]
