"""What upstream offered, version by version: the files that a version bump is compared with.

One file a backend and version, `reports/upstream/vllm-0.32.0.json`. Builds of one version
(`+cpu`, `+cu130`) share a file: the last one read stands there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness import store
from harness.jsontypes import JSON

FOLDER = "upstream"
"""Name of the folder, beside the results."""


class InterfaceError(ValueError):
    """An interface that cannot be read or kept; one line with the mend."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Argument(_Record):
    """One argument; see `harness.backends.upstream.Argument`."""

    type: str = ""
    default: Any = None
    values: list[Any] | None = None
    values_from: str = ""
    aliases: dict[str, Any] = Field(default_factory=dict)
    parts: str = ""

    @property
    def has_default(self) -> bool:
        """Whether upstream states one. None is a default as well."""
        return "default" in self.model_fields_set


class Call(_Record):
    """One upstream call; see `harness.backends.upstream.UpstreamCall`."""

    read_from: str = ""
    arguments: dict[str, Argument]
    open: str = ""
    note: str = ""
    failed: str = ""


class Offered(_Record):
    """All that one version of a backend's libraries offers."""

    backend: str
    libraries: dict[str, str] = Field(min_length=1)
    calls: dict[str, Call]

    @property
    def versions(self) -> str:
        """`torch 2.13.0+cpu, transformers 5.23.0`."""
        return ", ".join(f"{name} {version}" for name, version in self.libraries.items())

    @property
    def file(self) -> str:
        """`vllm-0.32.0.json`; libraries that are not the backend itself are named."""
        parts = [
            _public(version) if name == self.backend else f"{name}-{_public(version)}"
            for name, version in self.libraries.items()
        ]
        return "-".join([self.backend, *parts]) + ".json"


def parse(backend: str, facts: JSON) -> Offered:
    """What a backend's interpreter answered.

    Raises:
        InterfaceError: it is not an interface.
    """
    given = facts if isinstance(facts, dict) else {}
    try:
        return Offered.model_validate({"backend": backend, **given})
    except ValidationError as error:
        raise InterfaceError(f"the {backend} adapter's interface: {_problem(error)}") from None


def recorded(folder: Path, backend: str) -> list[Offered]:
    """Every version of a backend that was read so far, oldest first.

    Raises:
        InterfaceError: a file cannot be read.
    """
    found = []
    for path in sorted(folder.glob(f"{backend}-*.json")):
        try:
            record = Offered.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InterfaceError(f"{path}: cannot be read: {error.strerror}") from None
        except ValidationError as error:
            raise InterfaceError(
                f"{path}: {_problem(error)}. Delete it, or restore it from version control; "
                "`paramatrix drift` writes the installed version's again."
            ) from None
        if record.backend == backend:
            found.append(record)
    return sorted(found, key=age)


def before(offered: Offered, records: list[Offered]) -> Offered | None:
    """The newest record that is older than `offered`."""
    older = [record for record in records if age(record) < age(offered)]
    return older[-1] if older else None


def write(offered: Offered, folder: Path) -> Path:
    """Keep what was read; its file.

    Raises:
        InterfaceError: the folder cannot be written.
    """
    target = folder / offered.file
    text = json.dumps(offered.model_dump(mode="json", exclude_unset=True), indent=1, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        store.replace(target, f"{text}\n".encode())
    except (OSError, store.StoreError) as error:
        raise InterfaceError(f"{target}: cannot be written: {error}. Choose another folder with --out.") from None
    return target


Age = list[tuple[str, list[int], bool, str]]


def age(offered: Offered) -> Age:
    """Sort key: libraries by name, each by release; 0.33.0rc1 comes before 0.33.0."""
    key = []
    for name, version in sorted(offered.libraries.items()):
        public = _public(version)
        release = re.match(r"\d+(?:\.\d+)*", public)
        rest = public[release.end() :] if release else public
        numbers = [int(part) for part in release.group().split(".")] if release else []
        key.append((name, numbers, not re.match(r"[._-]?(a|b|rc|dev|alpha|beta)", rest), rest))
    return key


def _public(version: str) -> str:
    """Without the build: `2.13.0+cpu` is 2.13.0. Only what a file name can hold."""
    return re.sub(r"[^\w.-]", "_", version.partition("+")[0])


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
