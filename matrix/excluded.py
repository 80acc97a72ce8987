"""Fields of the schema without cells of their own, each with its reason. A `*` stands for any rest."""

from __future__ import annotations

from harness.declare import Excluded

EXCLUDED = (
    Excluded("model", "what the matrix runs on, not a setting under test: MODEL= chooses it"),
    Excluded("backend", "the column itself, not a setting within it"),
)
