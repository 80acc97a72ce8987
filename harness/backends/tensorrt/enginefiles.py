"""The built engine of the engine path: its files, its config, and what TensorRT itself says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.backends.tensorrt.reads import Reads
    from harness.jsontypes import JSON

SUFFIX = ".engine"

Stamp = tuple[int, int]
"""A file's inode, and when it was written, in nanoseconds."""


def engines_in(folder: Path) -> set[Stamp]:
    """The engine files somewhere below `folder`."""
    return {_stamp(path) for path in folder.rglob(f"*{SUFFIX}")}


def describe_files(llm: Any, known: set[Stamp], reads: Reads) -> dict[str, JSON]:
    """Facts about the engine that `llm` runs; `known` are those that were there when its load began."""
    folder = reads("engine_files", lambda: Path(llm._engine_dir))
    if folder is None:
        return {}
    files = sorted(path for path in folder.iterdir() if path.suffix in {SUFFIX, ".json", ".safetensors"})
    engines = [path for path in files if path.suffix == SUFFIX]
    facts: dict[str, JSON] = {
        "engine_files": [_file(path) for path in files],
        "engine_built": any(_stamp(path) not in known for path in engines),
        "engine_config": reads("engine_config", lambda: json.loads((folder / "config.json").read_text())),
        "build_steps": reads(
            "build_steps",
            lambda: [[str(name), float(seconds)] for name, seconds in llm.llm_build_stats.build_steps_info],
        ),
    }
    if engines:
        facts["inspector"] = reads("inspector", lambda: _inspect(engines[0], reads))
    return facts


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _file(path: Path) -> JSON:
    found = path.stat()
    return {
        "name": path.name,
        "path": str(path),
        "bytes": found.st_size,
        "inode": found.st_ino,
        "mtime_ns": found.st_mtime_ns,
    }


def _inspect(path: Path, reads: Reads) -> dict[str, JSON]:
    """What TensorRT's own engine object says, read back from the file; its plugins came with tensorrt_llm."""
    import tensorrt

    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise RuntimeError(f"TensorRT cannot read {path.name}")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]
    return reads.group(
        "inspector",
        layers=lambda: int(engine.num_layers),
        io_tensors=lambda: names,
        io_dtypes=lambda: {name: str(engine.get_tensor_dtype(name)) for name in names},
        profiles=lambda: int(engine.num_optimization_profiles),
        profile_shapes=lambda: {
            name: [
                [list(shape) for shape in engine.get_tensor_profile_shape(name, profile)]
                for profile in range(engine.num_optimization_profiles)
            ]
            for name in inputs
        },
        refittable=lambda: bool(engine.refittable),
        profiling_verbosity=lambda: engine.profiling_verbosity.name,
        streamable_bytes=lambda: int(engine.streamable_weights_size),
        information=lambda: _layers(engine, tensorrt),
    )


def _layers(engine: Any, tensorrt: Any) -> dict[str, JSON]:
    """How many layers the engine inspector lists, and the data formats that it names; none where it is kept short."""
    text = engine.create_engine_inspector().get_engine_information(tensorrt.LayerInformationFormat.JSON)
    layers = json.loads(text).get("Layers", [])
    formats: dict[str, int] = {}
    for layer in layers:
        for tensor in layer.get("Outputs", []) if isinstance(layer, dict) else ():
            kind = str(tensor.get("Format/Datatype"))
            formats[kind] = formats.get(kind, 0) + 1
    return {
        "listed": len(layers),
        "detailed": any(isinstance(layer, dict) for layer in layers),
        "formats": dict(formats),
    }
