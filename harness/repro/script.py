"""From a cell's record to a standalone script that runs its two runs again and compares them with it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast

from harness.backends.base import Observation
from harness.declare import Seen
from harness.failure import one_line
from harness.judge import forwarded_difference
from harness.records import BackendInfo, CellRecord, RunRecord
from harness.report import fill, visible
from harness.repro import pytorch, vllm
from harness.repro.argument import argument, tells
from harness.repro.bodies import PROMPTS, batched, functions, prompts
from harness.repro.roles import Role, refusal, roles
from harness.repro.shapes import LOGITS, NotReproducible, Shape
from harness.repro.source import WIDTH, statement, string
from harness.rests import RESOLVED

SHAPES: Final[Mapping[str, Shape]] = {"pytorch": pytorch.SHAPE, "vllm": vllm.SHAPE}
"""Backend to what its calls look like."""

TEMPLATE: Final = "repro.py"


def script(record: CellRecord, run: RunRecord, templates: Path) -> str:
    """The script of a cell.

    Args:
        record: the cell.
        run: the run that it refers to.
        templates: the folder of the template.

    Raises:
        NotReproducible: no script can show it.
        ReportError: the template is missing or wrong.
    """
    if reason := refusal(record):
        raise NotReproducible(reason)
    if record.backend not in SHAPES:
        raise NotReproducible(f"calls of {record.backend} are not written as source")
    shape, info = SHAPES[record.backend], run.backends[record.backend]
    error = (record.evidence.observed or {}).get("relative_error")
    if isinstance(error, float):
        shape = shape.with_logits()
    control, treated = roles(record, shape)
    variables = [role.run.variables.items() for role in (control, treated)]
    shared = dict(item for item in variables[0] if item in variables[1])
    bodies = functions(control, treated, shape, shared)
    common = prompts(control, treated)
    code = "\n".join(line for lines in bodies for line in lines)
    helpers = []
    for name, source in shape.helpers.items():  # those that use others come first
        if re.search(rf"\b{name}\b", code):
            helpers.append(source.strip())
            code += source
    environment = _environment(shape, info, shared)
    model = argument(control.run.model, info, record.cell, [code, *environment])
    return fill(
        templates,
        TEMPLATE,
        about=_docstring(record, run, control, treated),
        code="\n".join([code, *environment, *model]),
        imports=_imports(code, shape),
        environment=environment,
        model=model,
        prompts=statement(f"{PROMPTS} = ", batched(common)) if common else [],
        functions=bodies,
        helpers=helpers,
        versions=statement("VERSIONS = ", {name: version for name, version in info.packages.items() if version}),
        recorded=statement("RECORDED = ", {role.name: role.expected for role in (control, treated)}),
        relative_error=error if isinstance(error, float) else None,
        verdict=string(f"{record.verdict.value}: {record.cause.value}"),
        unseen=statement("UNSEEN = ", unseen) if (unseen := _unseen(record, treated)) else [],
    )


def _environment(shape: Shape, info: BackendInfo, shared: Mapping[str, str]) -> list[str]:
    defaults = {**shape.environment, **({} if info.gpus else shape.environment_on_cpu)}
    return [
        *(f"os.environ[{string(name)}] = {string(value)}" for name, value in shared.items()),
        *(f"os.environ.setdefault({string(name)}, {string(value)})" for name, value in defaults.items()),
    ]


def _imports(code: str, shape: Shape) -> list[str]:
    """Import lines for the names that the code uses."""
    used = set(re.findall(r"(?<![\w.\"'])[A-Za-z_]\w*", code))
    wanted: dict[str, list[str]] = {}
    for name, module in sorted(shape.modules.items()):
        if name in used:
            wanted.setdefault(module, []).append(name)
    plain = [f"import {name}" for name in wanted.pop("", [])]
    return [*plain, *(f"from {module} import {', '.join(names)}" for module, names in sorted(wanted.items()))]


def _docstring(record: CellRecord, run: RunRecord, control: Role, treated: Role) -> list[str]:
    """Lines of the docstring, the quotes around it left out."""
    lines: list[str] = []
    for text in _about(record, run, control, treated):
        escaped = visible(" ".join(text.split())).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        lines += ["", *textwrap.wrap(escaped, WIDTH, break_long_words=False, break_on_hyphens=False)]
    return lines[1:]


def _about(record: CellRecord, run: RunRecord, control: Role, treated: Role) -> Iterator[str]:
    observed = record.evidence.observed or {}
    rests: list[str] = observed.get("rests_on", [])
    yield f"{record.cell}: {record.cause.value}"
    yield record.reason
    if handed := forwarded_difference(_handed(treated), _handed(control)):
        yield f"Handed over by the treated run alone: {one_line('; '.join(handed), 400)}"
    if rests:
        yield f"Effect looked for: {observed.get('effect')}. The verdict rests on {', '.join(rests)}."
    info = run.backends[record.backend]
    yield f"Recorded {run.started} by paramatrix {run.harness.version} with Python {info.python} on {info.device}."
    needed = "" if tells(control.run.model) else ", which it needs: the record does not say where it lay"
    yield (
        f"Argument: the model{needed}; a folder's name is relative to where the script is run. "
        "Exit status 0: both runs give what was recorded; 1: they do not; 2: a folder is missing."
    )


def _unseen(record: CellRecord, treated: Role) -> list[str]:
    """What the verdict rests on that the script does not observe."""
    observed = record.evidence.observed or {}
    shown = ["outputs", *(f"{RESOLVED}.{path}." for path in treated.expected)]
    shown += [LOGITS] if isinstance(observed.get("relative_error"), float) else []
    return [path for path in observed.get("rests_on", []) if not any(own.startswith(path) for own in shown)]


def _handed(role: Role) -> Seen:
    return Seen(cast("Observation", {}), {}, role.run.calls)
