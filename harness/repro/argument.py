"""The model of a script: its argument, or what was recorded, and a line that says when the folder is not there."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.records import BackendInfo
from harness.repro.source import Code, Invocation, Value, statement

_NO_ID = re.compile(r"[./]")
"""How a path begins that cannot be a hub id."""
_MADE = re.compile(r'"(\.[\w-]+/[\w./-]+)"')
"""A folder that the harness makes, as the code spells it."""


def tells(model: str) -> bool:
    """Whether a path is one to use: not where redaction has put something else in its place."""
    return re.search(r"<\w+>|^~", model) is None


def argument(model: str, info: BackendInfo, cell: str, code: Iterable[str]) -> list[str]:
    """Lines that take the model from the command line, or as it is recorded where that tells where it lies.

    Libraries take the name of a folder that is not there for a hub id: the script looks before it asks them.

    Args:
        model: as the calls name it.
        info: what the run says of the backend: of its model too.
        cell: the cell's id.
        code: the rest of the script, which may name more folders.
    """
    folder = not tells(model) or _NO_ID.match(model) or (model == info.model and info.model_hash)
    made = sorted({path for line in code for path in _MADE.findall(line)})
    needed: list[Value] = [*([Code("MODEL")] if folder else []), *made]
    default = model if tells(model) else "the model"
    lines = statement("MODEL = ", [Code("*sys.argv[1:]"), default])
    lines[-1] += "[0]"
    if not needed:
        return lines
    mend = "Name the model's: python repro.py FOLDER"
    if made or model.startswith("."):
        mend = f"`make matrix FRESH=1 CELL='{cell}'` makes it in a checkout of paramatrix: run this there"
    elif tells(model):
        mend = "Run this in a checkout of paramatrix, or name the model's: python repro.py FOLDER"
    told = Code('f"{missing[0]}: no such folder in {os.getcwd()}."')
    return [
        *lines,
        *statement("needed = ", needed),
        "missing = [path for path in needed if not os.path.isdir(path)]",
        "if missing:",
        *statement("", Invocation("print", [told, mend], {"file": Code("sys.stderr")}), indent=1),
        "    sys.exit(2)",
    ]
