"""The plugins of the process that writes results. Workers need none of them, nor what they import."""

from __future__ import annotations

import pytest

from harness.htmlreport import Carried, MatrixHtml
from harness.plugin import options, order
from harness.plugin.asked import ELSEWHERE, project_of
from harness.plugin.ending import Ending
from harness.plugin.passed import Passed
from harness.plugin.recorder import Recorder
from harness.plugin.reuse import Reuse
from harness.plugin.slots import SlotPlugin


def register(config: pytest.Config) -> None:
    """Let them take part in a run.

    Raises:
        pytest.UsageError: an option cannot be meant.
    """
    options.check_expressions(config)
    order.check(config)
    plugins = config.pluginmanager
    plugins.register(Ending(), "paramatrix-ending")
    if config.getoption("--energy") or config.getoption("--energy-budget"):
        from harness.energy.plugin import EnergyRecorder

        plugins.register(EnergyRecorder(config), "paramatrix-recorder")
        return
    reuse = Reuse(config)
    recorder = Recorder(config, reuse)
    plugins.register(Carried(), "paramatrix-carried")
    plugins.register(reuse, "paramatrix-reuse")
    plugins.register(Passed(lambda: reuse.known().reused), "paramatrix-passed")
    plugins.register(recorder, "paramatrix-recorder")
    plugins.register(SlotPlugin(config, reuse), "paramatrix-slots")
    if config.getoption("--executor"):
        from harness.cluster.plugin import ClusterRun

        cluster = config.stash[ELSEWHERE] = ClusterRun(config, recorder)
        plugins.register(cluster, "paramatrix-cluster")
    if config.getoption("htmlpath", None):
        html = MatrixHtml(lambda: project_of(config).templates, recorder.run_of)
        plugins.register(html, "paramatrix-html")
