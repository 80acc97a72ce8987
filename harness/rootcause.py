"""The cause behind an error that only points at it, found in what the processes of an engine printed. Pure.

Libraries that work in several processes report a failure twice: the process that failed prints its
traceback, and the one that was asked raises "see root cause above". The second says nothing about
whose fault it was. Only lines that end a traceback count as a cause: a warning in the log explains nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TRACEBACK = "Traceback (most recent call last):"
_POINTS = re.compile(
    r"root cause|background process|see (?:the )?(?:stack ?trace|traceback|logs?)\b"
    r"|(?:stack ?trace|traceback|logs?|error|exception|cause) \(?above|following error:|Executor failed|EngineDead",
    re.IGNORECASE,
)
"""Messages that say: it was another process, look at what it printed."""
_AFTERMATH = re.compile(
    r"^(?:EOFError|BrokenPipeError|ConnectionResetError|KeyboardInterrupt|SystemExit|[\w.]*CancelledError"
    r"|zmq\.\S*(?:ContextTerminated|ZMQError))\b"
    r"|^RuntimeError: cancelled$|(?:Connection (?:closed|reset) by peer|Broken pipe)"
)
"""What one process says because another has ended."""
_DIED = re.compile(
    r"[^\n]*\b(?:proc|process|worker|rank)\b[^\n]{0,80}"
    r"\b(?:died|crashed|was killed|exited (?:unexpectedly|with)|terminated with (?:signal|exit code))\b[^\n]*",
    re.IGNORECASE,
)
_FAILED_PROCESS = re.compile(r"EngineDead|Failed core proc|background process|Executor failed")
_PREFIX = re.compile(r"^(?:\([^()]*\) *)?(?:\[[^\]]*\]:? *)?(?:[A-Z]{4,8} +[\d:., -]+\[[^\]]*\] *)?")
"""`(Worker pid=7) ERROR 11-21 06:30:32 [core.py:1510] `, `[rank0]: `."""
_RAISED = re.compile(r"^(?![A-Z]+:)(?:\w+\.)*[A-Z]\w*(?:: .*|:?$)", re.DOTALL)
"""The line that ends a traceback, `package.Type: message`; `WARNING: …` is none."""
_FRAME = re.compile(r'^ +File "(.+)", line \d+, in (\S+)')
_OTHER = re.compile(r"^(?:\(|\[|[A-Z]{4,8} |Process |During handling|The above exception|\S*warn)")
"""Begins something else than a further line of a message."""
_MORE_LINES = 5
_TERMINATED = re.compile(r"terminate called after throwing an instance of '([^'\n]+)'(?:\n *what\(\): +([^\n]*))?")


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception as a process printed it."""

    text: str
    """`Type: message`, over several lines where the message has several."""
    file: str
    """Where its innermost frame is, "" when no frame was printed."""
    function: str

    @property
    def kind(self) -> str:
        """The type, with its module."""
        return self.text.split(":", 1)[0].split("\n", 1)[0]


def raised(log: str) -> list[Raised]:
    """What ended each traceback in a log, in order. Tracebacks of errors that Python ignored are left out."""
    lines = log.splitlines()
    found: list[Raised] = []
    for start, line in enumerate(lines):
        column = line.find(_TRACEBACK)
        if column < 0 or (start and "Exception ignored in" in lines[start - 1]):
            continue
        prefix = line[:column]
        # what another process printed in between has another prefix
        body = [text[column:] for text in lines[start + 1 :] if text.startswith(prefix)]
        if one := _end_of(body):
            found.append(one)
    return found


def _end_of(body: list[str]) -> Raised | None:
    file = function = ""
    for number, line in enumerate(body):
        if frame := _FRAME.match(line):
            file, function = frame.groups()
        elif _TRACEBACK in line:
            return None
        elif not line.startswith(" ") and _RAISED.match(line):
            message = [line]
            for more in body[number + 1 : number + 1 + _MORE_LINES]:
                if not more.strip() or _OTHER.match(more) or _TRACEBACK in more:
                    break
                message.append(more)
            return Raised("\n".join(message), file, function)
    return None


@dataclass(frozen=True, slots=True)
class Root:
    """The cause that an error pointed at."""

    text: str
    """What was raised, or the line that says which process died."""
    died: bool
    """True when a process ended without raising anything: a signal, an exit."""
    raised: Raised | None = None


def elsewhere(kind: str, message: str) -> bool:
    """True when an error is only the echo of another process's."""
    error = f"{kind}: {message}"
    return _TRACEBACK in message or any(words.search(error) for words in (_POINTS, _DIED, _AFTERMATH))


def find(kind: str, message: str, log: str, *, alone: bool = False) -> Root | None:
    """The cause behind an error, or None when the error speaks for itself.

    Args:
        kind: the error's type, with its module.
        message: its message.
        log: what the engine's processes printed since the run began.
        alone: a process that worked for the engine is gone, so that any error may be its echo.
    """
    if not alone and not elsewhere(kind, message):
        return None
    # a message that brings the other process's traceback along is nearer than the log
    for source in (message, log):
        causes = [one for one in raised(source) if not _POINTS.search(one.text) and not _AFTERMATH.search(one.text)]
        if causes:
            return Root(causes[-1].text, died=False, raised=causes[-1])
    if deaths := _DIED.findall(log):
        return Root(_PREFIX.sub("", deaths[0]).strip(), died=True)
    # it died without a word
    error = f"{kind}: {message}"
    return Root(error, died=True) if _DIED.search(error) or _FAILED_PROCESS.search(error) else None


def last_words(log: str) -> str:
    """The C++ exception that a process died of, "" when there was none."""
    spoken = _TERMINATED.findall(log)
    return ": ".join(filter(None, spoken[-1])) if spoken else ""
