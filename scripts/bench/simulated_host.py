"""Starts `harness.worker` with a simulated backend: its module, and then what an interpreter is called with."""

from __future__ import annotations

import sys

from harness import backends, worker

if __name__ == "__main__":
    backends.MODULES.update(dict.fromkeys(backends.MODULES, sys.argv[1]))
    sys.exit(worker.main(sys.argv[4:]))
