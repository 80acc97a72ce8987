"""The memory of which a worker on a CPU took its share: nothing in a loaded engine tells any more.

It is what vLLM itself found when the worker began: of one node of memory, within a container's limit
(`vllm.utils.cpu_resource_utils`, vLLM 0.32). Whoever looks later may find another: a hypervisor takes memory from a
virtual machine and gives it back while it runs, and MemTotal follows.
"""

from __future__ import annotations

from typing import Any

_found: list[int] = []


def watch() -> None:
    """Have workers of this process note what they find. An accelerator's memory is what it is at any time."""
    import torch

    if torch.cuda.is_available():
        return
    from vllm.v1.worker import cpu_worker

    original = cpu_worker.get_memory_node_info
    if hasattr(original, "paramatrix"):
        return

    def get_memory_node_info(*args: Any, **kwargs: Any) -> Any:
        info = original(*args, **kwargs)
        _found.append(int(info.total_memory))
        return info

    get_memory_node_info.paramatrix = True  # type: ignore[attr-defined]
    cpu_worker.get_memory_node_info = get_memory_node_info


def total() -> int | None:
    """Bytes of the device's memory; None where the worker did not ask for them."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[1])
    return _found[0] if _found else None
