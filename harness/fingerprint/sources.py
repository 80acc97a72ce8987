"""The source files that a module's behaviour depends on: its own, and those that it imports, directly or not.

Read from the files alone: nothing is imported for it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Collection, Iterator
from pathlib import Path


def closure(modules: Collection[str], *, without: Collection[str] = ()) -> dict[str, str]:
    """Module name to the hash of its source, for `modules` and all they import from their own packages and `harness`.

    Args:
        modules: where to begin.
        without: modules that are not followed, and not part of it.
    """
    packages = {name.partition(".")[0] for name in modules} | {"harness"}
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name in without or (path := _file(name)) is None:
            continue
        state = path.stat()
        found[name], imported = _read(path, name, (state.st_mtime_ns, state.st_size))
        waiting += [other for other in imported if other.partition(".")[0] in packages]
    return dict(sorted(found.items()))


def has_source(module: str) -> bool:
    """Whether a module is written in Python."""
    return _file(module) is not None


@functools.cache
def _read(path: Path, module: str, state: tuple[int, int]) -> tuple[str, tuple[str, ...]]:
    """A file's hash, and the modules it imports. Read once for each of its states."""
    del state
    source = path.read_bytes()
    home = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return hashlib.sha256(source).hexdigest(), tuple(dict.fromkeys(_imports(ast.parse(source), home)))


def _imports(tree: ast.AST, home: str) -> Iterator[str]:
    """The modules that a module in `home` imports: of `from a import b` a.b, if it is one."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), home)
            for alias in node.names:
                yield name if _file(name := f"{origin}.{alias.name}") else origin
        else:
            # an import is a statement: expressions hold none
            waiting += [
                part
                for name in ("body", "orelse", "finalbody", "handlers", "cases")
                if isinstance(parts := getattr(node, name, None), list)
                for part in parts
            ]


@functools.cache
def _file(module: str) -> Path | None:
    """The source file of a module, found without importing it; None if it has none."""
    top, *rest = module.split(".")
    loaded = sys.modules.get(module)
    if loaded is not None and (known := getattr(loaded, "__file__", None)):
        return Path(known) if known.endswith(".py") else None
    if not rest:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        origin = Path(spec.origin) if spec and spec.origin and spec.has_location else None
        return origin if origin and origin.suffix == ".py" else None
    package = _file(module.rpartition(".")[0])
    if package is None or package.name != "__init__.py":
        return None
    for path in (package.parent / rest[-1] / "__init__.py", package.parent / f"{rest[-1]}.py"):
        if path.is_file():
            return path
    return None
