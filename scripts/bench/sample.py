"""The cells that both ways of running are compared on: of each backend 8 that share its base engine, 4 that do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.columns import plan_cells
from harness.plan import Cell
from harness.project import Project

SAMPLE: Final[Mapping[str, tuple[str, ...]]] = {
    "pytorch": (
        "max_output_tokens=4",
        "batching.batch_size=3",
        "decoder.temperature=0.5",
        "decoder.top_k=5",
        "decoder.top_p=0.5",
        "decoder.min_p=0.1",
        "decoder.repetition_penalty=1.3",
        "pytorch.use_cache=False",
        "fp_precision=bfloat16",
        "pytorch.attn_implementation=eager",
        "pytorch.load_in_4bit=True",
        "pytorch.revision=alt",
    ),
    "vllm": (
        "max_output_tokens=4",
        "batching.batch_size=3",
        "decoder.temperature=0.5",
        "decoder.top_k=5",
        "decoder.top_p=0.5",
        "vllm.n=3",
        "vllm.logprobs=5",
        "vllm.presence_penalty=1.5",
        "fp_precision=bfloat16",
        "vllm.block_size=64",
        "vllm.enable_prefix_caching=False",
        "vllm.max_num_seqs=1",
    ),
}
"""Backend to rows of its column. None of them compiles or starts several processes."""


class UnknownCellError(RuntimeError):
    """A row of the sample is no cell any more."""


def sample(project: Project, backend: str) -> list[Cell]:
    """The cells of a backend's sample, as `make matrix` would plan them here.

    Raises:
        UnknownCellError: a row is not in the plan.
    """
    planned = {cell.row: cell for cell in plan_cells(project, backend, None)}
    wanted = SAMPLE.get(backend, ())
    if unknown := [row for row in wanted if row not in planned]:
        raise UnknownCellError(
            f"{backend}: no cell is called {', '.join(unknown)}. `paramatrix cases --backends {backend}` lists the "
            f"{len(planned)} planned ones; scripts/bench/sample.py names those to compare on."
        )
    return [planned[row] for row in wanted]
