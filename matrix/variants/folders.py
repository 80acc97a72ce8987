"""Model folders that start as a copy of the shipped model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


def files(folder: Path) -> list[Path]:
    """The files right in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def copy(model: Path, folder: Path, *, without: tuple[str, ...] = ()) -> None:
    """Make `folder` and copy the model's files into it, all but those named `without`."""
    folder.mkdir(parents=True)
    for path in files(model):
        if path.name not in without:
            shutil.copyfile(path, folder / path.name)


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON file as people read it."""
    write(path, json.dumps(value, indent=2) + "\n")


def write(path: Path, text: str) -> None:
    """Write a text file."""
    path.write_text(text, encoding="utf-8")


def itself(folder: Path) -> dict[str, str]:
    """Locates a variant that is one model folder."""
    return {"model": str(folder)}
