"""CUDA graphs and torch.compile."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import on_off
from matrix.parameters.tensorrt.declaring import WITH_GRAPHS, engine
from matrix.probes import trt_engine

_COMPILED: dict[str, JSON] = {"tensorrt.torch_compile.enabled": True}
_PIECES: dict[str, JSON] = {**_COMPILED, **WITH_GRAPHS}

PARAMETERS: tuple[Parameter, ...] = (
    engine("cuda_graph.enabled", trt_engine.cuda_graph, *on_off()),
    engine("cuda_graph.batch_sizes", trt_engine.cuda_graph_sizes, Value([1, 2]), Value([4]), companions=WITH_GRAPHS),
    engine("cuda_graph.max_batch_size", trt_engine.cuda_graph_largest, Value(2), Value(4), companions=WITH_GRAPHS),
    engine(
        "cuda_graph.enable_padding",
        trt_engine.cuda_graph_padding,
        *on_off(),
        # never four at once
        companions={**WITH_GRAPHS, "tensorrt.cuda_graph.batch_sizes": [4]},
        workload=workloads.OPEN,
    ),
    engine("torch_compile.enabled", trt_engine.torch_compile, *on_off()),
    engine("torch_compile.enable_fullgraph", trt_engine.fullgraph, *on_off(), companions=_COMPILED),
    engine("torch_compile.enable_inductor", trt_engine.inductor, *on_off(), companions=_COMPILED),
    engine("torch_compile.enable_piecewise_cuda_graph", trt_engine.piecewise, *on_off(), companions=_PIECES),
    engine(
        "torch_compile.capture_num_tokens",
        trt_engine.piecewise,
        Value([64]),
        Value([32, 128]),
        companions={**_PIECES, "tensorrt.torch_compile.enable_piecewise_cuda_graph": True},
    ),
)
