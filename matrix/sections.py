"""Section headings of the page, in its order."""

from __future__ import annotations

CORE = "Core Settings"
BATCHING = "Batching"
DECODER = "Decoder/Generation"
PARALLELISM = "Parallelism"
QUANTIZATION = "Quantization"
STREAMING = "Streaming & Simulation"
PYTORCH = "PyTorch-specific"
VLLM = "vLLM-specific"
TENSORRT = "TensorRT-specific"

SECTIONS = (CORE, BATCHING, DECODER, PARALLELISM, QUANTIZATION, STREAMING, PYTORCH, VLLM, TENSORRT)
