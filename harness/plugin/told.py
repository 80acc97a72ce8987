"""What the controller tells a worker of pytest-xdist: the names in its input, and in its environment."""

from __future__ import annotations

from typing import Final

RUN: Final = "paramatrix_run"
"""The id of the run."""
CHOSEN: Final = "paramatrix_chosen"
"""The ids of the cells to run, where not all are."""
REUSED: Final = "paramatrix_reused"
"""The ids of the cells whose recorded outcome stands."""
SNAPSHOTS: Final = "paramatrix_snapshots"
"""As JSON, what each backend's interpreter says of itself."""
SLOT: Final = "paramatrix_slot"
"""Its slot, and all there are."""
MARK: Final = "PARAMATRIX_WORKER"
"""The environment variable that marks what a worker starts, so that its slot can be cleared when it dies."""
