"""The recommended configs: files that are shown word for word, and whether they were run as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.claims import BackendClaims, Claims, Recommended
from harness.config import settings
from harness.config.files import validate_text

NOT_RUN = "Declared, not measured here"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A recommended config, word for word, and whether it was run."""

    title: str
    yaml: str
    status: str


def recommendations(folder: Path | None, claims: Claims) -> list[Recommendation]:
    """The recommended configs in the order of their file names; the first line is the title."""
    found = []
    for path in recommended_files(folder):
        text = path.read_text(encoding="utf-8")
        title, _, yaml = text.partition("\n")
        config = validate_text(text, path.name).config
        stated = None if config is None else settings(config)
        tried = [
            _tried(item, checked)
            for checked in claims.backends.values()
            for item in checked.recommended
            # a file that was changed since has not been run
            if item.file == path.name and item.trial.settings == stated
        ]
        status = tried[0] if tried else NOT_RUN
        found.append(Recommendation(title.removeprefix("#").strip(), yaml.strip("\n"), status))
    return found


def recommended_files(folder: Path | None) -> list[Path]:
    """The recommended configs, in page order."""
    return sorted(folder.glob("*.yaml")) if folder else []


def _tried(item: Recommended, checked: BackendClaims) -> str:
    where = f"{checked.backend.libraries}, {checked.backend.device}"
    says = f"{item.trial.outcome.value}: {item.trial.says}".removesuffix(": ")
    return f"Run as it is, with the model {checked.backend.model}: {says} ({where})"
