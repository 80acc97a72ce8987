"""How an engine's failure is told: its one shape, and whose code raised it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from harness.backends.base import Calls
from harness.wire import Message

HARNESS_FOLDER = f"{Path(__file__).parent}{os.sep}"
"""As code objects name it: unresolved, so that a checkout behind a symbolic link is still ours."""
BOUNDARY = Calls.__call__.__code__


def failure(phase: str, kind: str, **facts: str | bool) -> Message:
    """The one shape of a failure: its phase, kind and what is known of it."""
    return {"phase": phase, "failure": {"phase": phase, "kind": kind, **facts}}


def where(error: BaseException) -> str:
    """Whose code raised: the library's, or ours.

    A call refused at its signature raises in the recorder's own frame; that is the library's
    refusal, not our fault.
    """
    frame: TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return "harness"
    code = frame.tb_frame.f_code
    return "harness" if ours(code.co_filename, code.co_name) else "upstream"


def ours(file: str, function: str) -> bool:
    """Whether a frame of this function is our own code; the one that makes upstream's calls is not."""
    return file.startswith(HARNESS_FOLDER) and (file, function) != (BOUNDARY.co_filename, BOUNDARY.co_name)


def type_name(error: BaseException) -> str:
    """The type of an error with its module, as it is told."""
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
