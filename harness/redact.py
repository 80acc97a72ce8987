"""What must not leave the machine: its folders, and its secrets."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.jsontypes import JSON

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY", re.IGNORECASE)
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")
_SHORTEST = 8
"""Shorter values are not treated as secrets: they would match ordinary text."""


class Redactor:
    """Makes records fit to publish: the project's folder becomes relative, secrets vanish."""

    def __init__(self, root: Path) -> None:
        self._folders = [
            (f"{root}{os.sep}", ""),
            (str(root), "."),
            (sys.base_prefix, "<python>"),
            (tempfile.gettempdir(), "<tmp>"),
            (str(Path.home()), "~"),
        ]
        self._secrets = [
            value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= _SHORTEST
        ]

    def text(self, text: str) -> str:
        """One string."""
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        text = _TOKEN.sub("<secret>", text)
        for folder, name in self._folders:
            if len(folder) > 1:
                text = text.replace(folder, name)
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
