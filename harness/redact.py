"""What must not leave the machine: its folders, and its secrets."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.jsontypes import JSON

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY", re.IGNORECASE)
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")
_SHORTEST = 8
"""Shorter values are not treated as secrets: they would match ordinary text."""


_EVERYBODYS = {"/", "/usr", "/usr/local"}
"""Folders that tell nothing about a machine."""


def _whole(folder: str) -> re.Pattern[str]:
    """A folder as a path of its own, not as a part of another: /root is not in /rooted nor in /x/root."""
    end = "" if folder.endswith(os.sep) else r"(?![\w-]|\.\w)"
    return re.compile(rf"(?<![\w.~-]){re.escape(folder)}{end}")


def _links(root: Path) -> Iterator[tuple[str, str]]:
    """Where the project's links lead to, and their names: libraries tell a file by the place where it really lies."""
    home = root.resolve()
    if home != root:
        yield f"{home}{os.sep}", ""
        yield str(home), "."
    for path in root.iterdir() if root.is_dir() else ():
        if path.is_symlink() and not (target := path.resolve()).is_relative_to(home):
            yield str(target), path.name


class Redactor:
    """Makes records fit to publish: the project's folder becomes relative, secrets vanish."""

    def __init__(self, root: Path) -> None:
        folders = [
            *_links(root),
            (f"{root}{os.sep}", ""),
            (str(root), "."),
            (sys.base_prefix, "<python>"),
            (tempfile.gettempdir(), "<tmp>"),
            (str(Path.home()), "~"),
        ]
        self._folders = [(_whole(folder), name) for folder, name in folders if folder not in _EVERYBODYS]
        self._secrets = [
            value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= _SHORTEST
        ]

    def text(self, text: str) -> str:
        """One string."""
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        text = _TOKEN.sub("<secret>", text)
        for folder, name in self._folders:
            text = folder.sub(name, text)
        return text

    def value(self, value: JSON) -> JSON:
        """Any JSON value; strings in it, keys included, are redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self.value(item) for item in value]
        return value
