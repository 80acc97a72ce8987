"""The audit: a probe that can be fooled has a survivor, which is told, and one that cannot has none."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from harness.audit import choose, page
from harness.audit.checks import contradictions
from harness.audit.host import AuditHost, Watched
from harness.audit.record import FILE, Audit, Audited, AuditError, Fate, Saboteur, read, schema
from harness.audit.trial import Trial, nothing_differs
from harness.declare import Column, Deaf, Matrix, Parameter, Value
from harness.host import Limits
from harness.jsontypes import JSON
from harness.launcher import Launcher
from harness.plan import Cell, Run, build
from harness.records import LINE, CellRecord
from harness.variants import Variants
from harness.verdict import Cause
from tests import declared_audit as declared
from tests import projects
from tests.projects import paramatrix
from tests.toys import APPLIED, TOY_HOST, cell_record, column, handed_over, parameter, plan, seen

ROOT = projects.ROOT
SCHEMA = ROOT / "docs" / "audit.schema.json"
OTHER = 5


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditHost]:
    launcher = Launcher((sys.executable, str(TOY_HOST)))
    made = AuditHost("toy", launcher, Limits(30, 30, 30), Variants(tmp_path_factory.mktemp("variants")))
    yield made
    made.close()


def planned(*parameters: Parameter, matrix: Matrix = declared.MATRIX) -> tuple[Cell, ...]:
    return build(replace(matrix, parameters=parameters), models={"pytorch": "toy"}, backends=["pytorch"])


def recorded(cell: Cell, level: str = "behaviour") -> CellRecord:
    record = cell_record("r", cell.row)
    return record.model_copy(update={"evidence": record.evidence.model_copy(update={"level": level})})


def audited(host: AuditHost, *parameters: Parameter, level: str = "behaviour") -> Audited:
    """The first cell of the parameters, audited."""
    cells = planned(*parameters)
    return Trial(host, cells).audit(cells[0], recorded(cells[0], level))


def survivors(found: Audited) -> list[Saboteur]:
    return [mutant.saboteur for mutant in found.mutants if mutant.fate is Fate.SURVIVED]


def test_a_probe_of_what_was_done_kills_every_mutant(host: AuditHost) -> None:
    found = audited(host, declared.GOOD)
    assert (found.level, found.honest, found.missed) == ("behaviour", Cause.CONFIRMED, [])
    made = Counter(mutant.saboteur for mutant in found.mutants)
    assert made == {Saboteur.WITHHOLD: 2, Saboteur.FLIP: 1, Saboteur.ECHO: 1, Saboteur.DEAF: 1}
    assert {mutant.fate for mutant in found.mutants} == {Fate.KILLED}


class Stream:
    """Stands in for a host: what reaches a reader together is chance in its first runs, and the same in fresh ones."""

    def __init__(self, value: JSON, *, other_again: bool) -> None:
        self.value = value
        self.other_again = other_again

    def watch(self, run: Run, deaf: Deaf | None = None, *, again: bool = False) -> Watched:
        assert deaf is None
        given = self.value in run.settings.values()
        odd = not given and (self.other_again or not again)
        chunks = [{"prompt": 0, "tokens": 2 if odd else 1, "text": "a"}]
        found = seen(applied=run.settings.get("decoder.top_k") != OTHER)
        found = replace(found, observation={**found.observation, "chunks": chunks})  # type: ignore[typeddict-item]
        return Watched(handed_over(found, **{"top_k": self.value} if given else {}), None)


@pytest.mark.parametrize(("other_again", "missed"), [(False, 0), (True, 1)])
def test_what_differs_by_chance_alone_is_looked_at_once_more(*, other_again: bool, missed: int) -> None:
    """The value is upstream's default, which is what a dropped one leaves."""
    (default,) = plan(parameter("decoder.top_k", Value(1, contrast=OTHER), on=column()))
    stream = cast("AuditHost", Stream(1, other_again=other_again))
    found = Trial(stream, [default]).audit(default, recorded(default))
    assert found.honest is Cause.CONFIRMED
    assert len([why for why in found.missed if "recorded as handed over" in why]) == missed


def test_a_probe_of_what_is_stored_is_of_state_and_its_survivors_are_no_fault(host: AuditHost) -> None:
    found = audited(host, declared.STORED, level="state")
    assert found.level == "state"
    assert survivors(found) == [Saboteur.ECHO, Saboteur.DEAF]
    assert found.missed == []


def test_state_that_is_recorded_as_behaviour_is_a_fault(host: AuditHost) -> None:
    (missed,) = audited(host, declared.STORED, level="behaviour").missed
    assert "an echo is confirmed as well" in missed


def test_a_probe_that_does_not_look_at_the_value_lets_another_one_survive(host: AuditHost) -> None:
    found = audited(host, declared.DIFFERS)
    assert survivors(found) == [Saboteur.FLIP]
    (missed,) = found.missed
    assert "decoder.repetition_penalty=0.5 arrives: survived: did 0.5" in missed


class Saturated:
    """A host whose upstream does the same with every value of the parameter, and otherwise without it."""

    def watch(self, run: Run, deaf: Deaf | None = None, *, again: bool = False) -> Watched:
        del again
        value = run.settings.get("decoder.temperature")
        if value is None or deaf:
            return Watched(seen(applied=False, ids=(1, 2)), None)
        return Watched(handed_over(seen(ids=(3, 4)), temperature=value), None)


def test_another_value_with_which_upstream_does_the_same_is_no_mutant() -> None:
    on = declared.GOOD.columns["pytorch"]
    assert isinstance(on, Column)
    cells = planned(replace(declared.GOOD, columns={"pytorch": replace(on, probe=APPLIED)}))
    found = Trial(cast("AuditHost", Saturated()), cells).audit(cells[0], recorded(cells[0], "state"))
    (flip,) = (mutant for mutant in found.mutants if mutant.saboteur is Saboteur.FLIP)
    assert (flip.fate, flip.how) == (Fate.SAME, "decoder.temperature=0.5 arrives")
    assert "upstream does the same with either" in flip.saw
    assert page.rate([flip]) == "–"


def test_a_probe_that_believes_the_adapter_lets_a_dropped_value_survive(host: AuditHost) -> None:
    found = audited(host, declared.HANDED, level="state")
    assert set(survivors(found)) == set(Saboteur)
    assert [text.split(":")[0] for text in found.missed] == ["withhold", "flip"]


def test_a_probe_that_the_control_satisfies_is_not_confirmed_and_a_fault(host: AuditHost) -> None:
    found = audited(host, declared.ALWAYS)
    assert (found.level, found.honest, found.mutants) == (None, Cause.NO_EFFECT, [])
    assert found.missed[0].startswith("not confirmed by the audit's own runs: no_observable_effect")


def test_what_could_not_be_made_deaf_is_no_kill(host: AuditHost) -> None:
    (missed,) = audited(host, declared.UNDEAFENED).missed
    assert missed.startswith("deaf: what is no longer there: error:")
    assert "no such component" in missed


def test_runs_differ_by_what_was_seen_and_not_by_what_varies_by_nature() -> None:
    (cell, _) = planned(declared.GOOD)
    one, other = handed_over(seen(ids=(1, 2))), handed_over(seen(ids=(1, 3)))
    timed = replace(one, observation={**one.observation, "seconds": 3.25, "arrivals": [0.5]})
    assert nothing_differs(cell, one, timed, one)
    assert not nothing_differs(cell, one, other, one)


# The command -----------------------------------------------------------------------------------------------------


def project(folder: Path, matrix: str) -> Path:
    made = projects.make(folder, matrix=f"declared_audit.{matrix}")
    assert paramatrix(made, "run").returncode == 0
    return made


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measured project that was audited."""
    made = project(tmp_path_factory.mktemp("audit") / "project", "MATRIX")
    done = paramatrix(made, "audit")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def audit_of(folder: Path) -> Audit:
    found = read(folder / "reports" / FILE)
    assert found is not None
    return found


def test_the_command_writes_rates_levels_and_survivors(sound: Path) -> None:
    found = audit_of(sound)
    assert len(found.cells) == found.asked == found.passes["pytorch"] == 4
    assert (found.narrowed, found.missed) == (False, [])
    assert found.backends["pytorch"].python
    text = (sound / "reports" / page.PAGE).read_text()
    assert "| PyTorch | 4 | 100.0% (8/8) | 100.0% (4/4) | 50.0% (2/4) | 50.0% (2/4) |" in text
    assert "| PyTorch: behaviour | 2 | 100.0% (4/4) | 100.0% (2/2) | 100.0% (2/2) | 100.0% (2/2) |" in text
    assert "| PyTorch: Decoder | 4 |" in text
    assert "| `pytorch-decoder.top_p=0.25` | state | echo |" in text
    assert "None: every value that was withheld or flipped was found out" in text


def test_what_was_recorded_of_the_matrix_is_untouched_by_an_audit(sound: Path) -> None:
    lines = (sound / "reports" / "results.jsonl").read_text().splitlines()
    assert {json.loads(line)["record"] for line in lines} == {"run", "cell"}
    with pytest.raises(ValueError, match="record"):
        LINE.validate_json((sound / "reports" / FILE).read_text())
    for cell in audit_of(sound).cells:
        with pytest.raises(ValueError, match="record"):
            LINE.validate_python(cell.model_dump())


def test_a_survivor_fails_the_command_and_is_named(tmp_path: Path) -> None:
    folder = project(tmp_path / "project", "FOOLED")
    done = paramatrix(folder, "audit", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "missed: pytorch-decoder.repetition_penalty=0.25: flip: decoder.repetition_penalty=0.5" in done.stderr
    text = (tmp_path / "out" / page.PAGE).read_text()
    assert "| PyTorch | 4 | 100.0% (8/8) | 50.0% (2/4) |" in text
    assert "## Missed targets\n\n| Cell | Why |" in text
    only = paramatrix(folder, "audit", "--cell", "*temperature*", "--out", str(tmp_path / "out"))
    assert only.returncode == 0, only.stderr
    narrowed = read(tmp_path / "out" / FILE)
    assert narrowed is not None
    assert narrowed.narrowed
    assert [cell.row for cell in narrowed.cells] == ["decoder.temperature=0.25", "decoder.temperature=0.5"]


@pytest.mark.parametrize("part", [("--cell", "*temperature*"), ("-k", "temperature"), ("--sample", "1")])
def test_a_part_tells_its_rates_and_leaves_the_whole_where_it_is(sound: Path, part: tuple[str, ...]) -> None:
    before = (sound / "reports" / FILE).read_bytes(), (sound / "reports" / page.PAGE).read_bytes()
    done = paramatrix(sound, "audit", *part)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^PyTorch: [12] cells, withhold 100\.0% \(\d/\d\), flip ", done.stdout, re.MULTILINE), done.stdout
    assert ((sound / "reports" / FILE).read_bytes(), (sound / "reports" / page.PAGE).read_bytes()) == before
    beside = read(sound / ".cache" / "audit" / FILE)
    assert beside is not None
    assert beside.narrowed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--cell", "pytorch-nothing"), "no ✅ is called pytorch-nothing. `*` stands for anything; 4 cells are ✅."),
        (("-k", "a b"), "-k 'a b': at column 3"),
        (("-k", "absent"), "no ✅ is left to audit"),
        (("--backends", "vllm"), "`make setup` makes it"),
    ],
)
def test_what_cannot_be_audited_is_told_in_one_line(sound: Path, arguments: tuple[str, ...], says: str) -> None:
    done = paramatrix(sound, "audit", *arguments, PARAMATRIX_VLLM_PYTHON="/no/such/python")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_sample_is_of_its_seed_and_spread_over_sections() -> None:
    decoder = planned(declared.GOOD, declared.STORED, declared.DIFFERS)
    core = [replace(cell, id=f"core-{cell.id}", section="Core") for cell in decoder[:2]]
    cells = [*decoder, *core]
    drawn = choose.sample(cells, 4, "a")
    assert drawn == choose.sample(cells, 4, "a")
    assert Counter(cell.section for cell in drawn) == {"Decoder": 2, "Core": 2}
    assert len({tuple(cell.id for cell in choose.sample(cells, 4, seed)) for seed in "abcdef"}) > 1
    assert choose.sample(cells, 99, "a") == cells


# What is committed -----------------------------------------------------------------------------------------------


def linted(folder: Path, audit: Audit, text: str | None = None) -> list[str]:
    results = projects.results(folder)
    shown = page.render(audit, ROOT / "templates") if text is None else text
    return list(contradictions(audit, shown, results, ROOT / "templates"))


def test_an_audit_of_these_results_is_no_contradiction(sound: Path) -> None:
    assert linted(sound, audit_of(sound)) == []


def test_an_audit_that_is_older_or_says_otherwise_is_told(sound: Path) -> None:
    audit = audit_of(sound)
    first = audit.cells[0]
    assert "older than 4 ✅" in linted(sound, audit.model_copy(update={"runs": ["before"]}))[0]
    (fewer,) = linted(sound, audit.model_copy(update={"cells": audit.cells[1:]}))
    assert f"1 ✅ of the results were never audited, the first is {first.cell}" in fewer
    (level,) = linted(
        sound, audit.model_copy(update={"cells": [first.model_copy(update={"recorded": "state"}), *audit.cells[1:]]})
    )
    assert "was by state when audited, and is by behaviour" in level
    (gone,) = linted(
        sound, audit.model_copy(update={"cells": [*audit.cells, first.model_copy(update={"cell": "pytorch-gone=1"})]})
    )
    assert "pytorch-gone=1 was audited as ✅, and is not there" in gone
    (old,) = linted(sound, audit, "# Audit")
    assert "is not what its audit gives" in old


def test_a_file_that_is_no_audit_is_named(tmp_path: Path) -> None:
    assert read(tmp_path / FILE) is None
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(AuditError, match="is no audit"):
        read(tmp_path / FILE)


def test_the_schema_is_that_of_the_models() -> None:
    mend = "`python -m harness.audit.record > docs/audit.schema.json` writes it"
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema(), mend
