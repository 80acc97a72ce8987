"""A sample of the audit on the real backends: another one with each commit, the same for one commit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.audit.record import FILE, Fate, Saboteur, read
from harness.provenance import commit
from tests.interpreters import ROOT
from tests.projects import paramatrix

SIZES = {"pytorch": 24, "vllm": 8}
"""✅ cells: PyTorch's take about a second each, vLLM's about five."""


# vLLM's sample may hold cells that give its cache more than half of the memory
@pytest.mark.parametrize("backend", ["pytorch", pytest.param("vllm", marks=pytest.mark.alone)])
def test_no_saboteur_gets_a_pass_but_where_the_committed_audit_says_so(backend: str, tmp_path: Path) -> None:
    variable = f"PARAMATRIX_{backend.upper()}_PYTHON"
    python = os.environ.get(variable) or str(ROOT / ".venvs" / backend / "bin" / "python")
    if not Path(python).is_file():
        pytest.skip(f"no {backend} interpreter at {python}: `make setup BACKENDS={backend}` makes it")
    seed = (commit(ROOT) or "no checkout").removesuffix("+dirty")
    asked = ("--backends", backend, "--sample", str(SIZES[backend]), "--seed", seed)
    done = paramatrix(ROOT, "audit", *asked, "--out", str(tmp_path), **{variable: python})
    assert done.returncode in {0, 1}, f"paramatrix audit {' '.join(asked)}\n{done.stderr}"
    found, committed = read(tmp_path / FILE), read(ROOT / "reports" / FILE)
    assert found is not None
    assert committed is not None
    told = {(cell.cell, text.split(":")[0]) for cell in committed.cells for text in cell.missed}
    missed = [(cell.cell, text) for cell in found.cells for text in cell.missed]
    new = [(cell, text) for cell, text in missed if (cell, text.split(":")[0]) not in told]
    assert new == [], f"paramatrix audit {' '.join(asked)}"
    assert len(found.cells) == SIZES[backend]
    tried = [mutant for cell in found.cells for mutant in cell.mutants if mutant.fate is Fate.KILLED]
    assert {mutant.saboteur for mutant in tried} >= {Saboteur.WITHHOLD, Saboteur.ECHO}
