"""What a matrix run can be asked for on pytest's command line."""

from __future__ import annotations

import pytest

from harness.cluster import EXECUTORS

_SCHEDULE = (
    ("window", float, "seconds of a window (default: 10, or 100 ticks of the counter)"),
    ("repeats", int, "windows of each cell and of its control"),
    ("idle", float, "seconds of idling with the model loaded"),
    ("warm-up", float, "seconds after which a warm-up is given up"),
)


def add(parser: pytest.Parser) -> None:
    """The options of a matrix run."""
    group = parser.getgroup("paramatrix")
    group.addoption("--matrix-backends", help="columns to plan, comma-separated (default: all)")
    group.addoption("--matrix-model", help="model folder or hub id that every cell loads")
    group.addoption("--matrix-version", action="append", help="BACKEND=VERSION: that column in its other environment")
    group.addoption("--matrix-results", help="results file to append to (default: the project's)")
    group.addoption("--matrix-fresh", action="store_true", help="run also the cells whose inputs did not change")
    group.addoption("--matrix-progress", action="store_true", help="one progress line a cell instead of letters")
    group.addoption(
        "--matrix-order",
        default="page",
        metavar="ORDER",
        help="page (those of one engine together), random, or random:SEED (default: page)",
    )
    group.addoption("--executor", choices=EXECUTORS, help="judge on a cluster instead of here")
    group.addoption(
        "--matrix-ray-address", metavar="HOST:PORT", help="the cluster (default: RAY_ADDRESS, or this host's)"
    )
    group.addoption("--matrix-slots", type=int, metavar="N", help="at most so many slots of the cluster at once")
    group.addoption(
        "--matrix-wait", type=float, default=60.0, metavar="S", help="seconds to wait for a first slot (default: 60)"
    )
    group.addoption("--energy", action="store_true", help="measure what cells cost instead of judging them")
    group.addoption("--energy-budget", metavar="FILE", help="YAML: fail where a cell or a config costs more than this")
    for name, kind, text in _SCHEDULE:
        group.addoption(f"--energy-{name}", type=kind, metavar=kind.__name__.upper(), help=text)


def check_expressions(config: pytest.Config) -> None:
    """Refuse a bad -k or -m here: in workers it takes xdist down with an internal error, after all was written.

    Raises:
        pytest.UsageError: as pytest itself would put it.
    """
    from _pytest.mark.expression import Expression

    for option, text in (("-k", config.option.keyword), ("-m", config.option.markexpr)):
        try:
            Expression.compile(text.lstrip())
        except SyntaxError as error:
            raise pytest.UsageError(
                f"Wrong expression passed to '{option}': {error.text}: at column {error.offset}: {error.msg}"
            ) from None
