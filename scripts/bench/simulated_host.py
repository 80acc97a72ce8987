"""Starts `harness.worker` with the simulated backend; called as an interpreter is, `-m harness.worker …`."""

from __future__ import annotations

import sys

from harness import backends, worker

if __name__ == "__main__":
    backends.MODULES["vllm"] = "bench.simulated"
    sys.exit(worker.main(sys.argv[3:]))
