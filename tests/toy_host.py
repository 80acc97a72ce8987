"""Starts `harness.worker` with the toy backend known to it; called as an interpreter is, `-m harness.worker …`."""

from __future__ import annotations

import sys

from harness import backends, worker

if __name__ == "__main__":
    for name in ("toy", *backends.MODULES):  # it also plays the part of every real one
        backends.MODULES[name] = "tests.toy_backend"
    sys.exit(worker.main(sys.argv[3:]))
