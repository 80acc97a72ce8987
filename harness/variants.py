"""Models derived from the shipped one, built once and kept under the cache folder."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.declare import Variant
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
            final = self.cache / f"{variant.name}-{model_hash(shipped)}-{_source_hash(variant)}"
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


def _source_hash(variant: Variant) -> str:
    """Changes when the code that builds a variant does, or the arguments that a `partial` gives it.

    The code is the builder's module and those of its own package that it imports, directly or not.
    """
    digest = hashlib.sha256()
    build: object = variant.build
    while isinstance(build, functools.partial):
        digest.update(repr((build.args, sorted(build.keywords.items()))).encode())
        build = build.func
    for source in _sources(build):
        digest.update(source)
    return digest.hexdigest()[:8]


def _sources(build: Any) -> list[bytes]:
    """What the file of a builder holds, and those that it imports from its own top-level package."""
    package = build.__module__.partition(".")[0]
    found: dict[str, bytes] = {}
    waiting = {build.__module__: Path(inspect.getfile(build if inspect.isroutine(build) else type(build)))}
    while waiting:
        module, path = waiting.popitem()
        found[module] = path.read_bytes()
        home = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for name in _imports(found[module], home, package):
            if name not in found and (source := _file(name)):
                waiting[name] = source
    return [found[module] for module in sorted(found)]


def _imports(source: bytes, home: str, package: str) -> Iterator[str]:
    """The modules of `package` that a module in `home` imports: of `from a import b` a.b, if it is one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), home)
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == package:
                yield name if _file(name) else name.rpartition(".")[0]


def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:  # not a module but a name in one
        return None
    return Path(spec.origin) if spec and spec.origin else None


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
