"""Making upstream deaf in an engine process of the audit: standard library alone, run by the backend's interpreter."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

from harness.wire import Message

KEY: Final = "deaf"
"""Where an engine's message has what it is made deaf by: {"source", "file", "function"}."""
VERB: Final = "audit"
"""What a worker is asked to do that may hold such engines; one that serves a matrix refuses them."""


class NotDeafenedError(RuntimeError):
    """What should have been neutralised could not be: the run that would follow says nothing."""


def deafen(told: Message) -> None:
    """Run the named function of that source, in this process.

    Raises:
        NotDeafenedError: it raised, or there is none of that name.
    """
    file, name = str(told["file"]), str(told["function"])
    module = ModuleType("paramatrix_deaf")
    module.__file__ = file
    sys.modules[module.__name__] = module
    try:
        exec(compile(str(told["source"]), file, "exec"), module.__dict__)  # noqa: S102 - the declarations' own code
        getattr(module, name)()
    except Exception as error:
        raise NotDeafenedError(f"{file}: {name}() failed: {type(error).__name__}: {error}") from error
