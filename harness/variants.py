"""Models derived from the shipped one, built once and kept under the cache folder."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.declare import Variant
from harness.fingerprint.values import Teller
from harness.plan import Run


class VariantError(RuntimeError):
    """A derived model cannot be built; the message says why."""


class Variants:
    """Builds and remembers the model that a run loads."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._built: dict[tuple[str, str], Mapping[str, str]] = {}

    def resolve(self, run: Run) -> Mapping[str, str]:
        """{"model": …} and perhaps {"cache_dir": …} for a run.

        Raises:
            VariantError: the derived model cannot be built.
        """
        if run.variant is None:
            return {"model": run.model}
        key = (run.variant.name, run.model)
        if key not in self._built:
            self._built[key] = self._build(run.variant, Path(run.model))
        return self._built[key]

    def _build(self, variant: Variant, shipped: Path) -> Mapping[str, str]:
        try:
            # another one when the code that builds it changes, or what it was given
            digest = Teller(self.cache).tell(variant.build)[:8]
            final = self.cache / f"{variant.name}-{model_hash(shipped)}-{digest}"
            self.cache.mkdir(parents=True, exist_ok=True)
            # Always through a folder of our own: another process may be building the same one.
            scratch = Path(tempfile.mkdtemp(prefix=f"{variant.name}-", dir=self.cache))
            try:
                variant.build(shipped, scratch / "built")
                try:
                    (scratch / "built").rename(final)
                except OSError:
                    if not final.is_dir():
                        raise
                return variant.locate(final)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except Exception as error:  # building a variant is a project's own code: whatever it raises
            raise VariantError(f"cannot build the model variant {variant.name!r} from {shipped}: {error}") from error


def model_hash(folder: Path) -> str | None:
    """SHA-256 (first 16 hex digits) over the names and bytes of a model folder's files.

    None when `folder` is not a local folder (a hub id).
    """
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".md"):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
