"""The experiment config: schema, rules, and views of both. Imports no backend."""

from __future__ import annotations

from harness.config._types import BACKENDS, Backend
from harness.config.experiment import ExperimentConfig
from harness.config.flat import config_from_settings, settings
from harness.config.introspection import compute_config_hash
from harness.config.presets import PRESETS
from harness.config.problems import Problem, problems_of, warnings_for
from harness.config.pytorch import PyTorchConfig
from harness.config.schema import LeafField, leaf_paths, schema_field
from harness.config.shared import (
    BatchingConfig,
    BeamSearchConfig,
    DecoderConfig,
    ParallelismConfig,
    QuantizationConfig,
    TrafficSimulationConfig,
)
from harness.config.tensorrt import TensorRTConfig
from harness.config.tensorrt_build import (
    TensorRTBuildConfig,
    TensorRTCalibrationConfig,
    TensorRTQuantizationConfig,
)
from harness.config.tensorrt_sections import (
    TensorRTCudaGraphConfig,
    TensorRTGuidedDecodingConfig,
    TensorRTKvCacheConfig,
    TensorRTLoraConfig,
    TensorRTSchedulerConfig,
    TensorRTSpeculativeConfig,
    TensorRTTorchCompileConfig,
)
from harness.config.vllm import VLLMConfig
from harness.config.vllm_sections import (
    VLLMAttentionConfig,
    VLLMCompilationConfig,
    VLLMSpeculativeConfig,
    VLLMStructuredOutputsConfig,
)
from harness.jsontypes import JSON

__all__ = [
    "BACKENDS",
    "JSON",
    "PRESETS",
    "Backend",
    "BatchingConfig",
    "BeamSearchConfig",
    "DecoderConfig",
    "ExperimentConfig",
    "LeafField",
    "ParallelismConfig",
    "Problem",
    "PyTorchConfig",
    "QuantizationConfig",
    "TensorRTBuildConfig",
    "TensorRTCalibrationConfig",
    "TensorRTConfig",
    "TensorRTCudaGraphConfig",
    "TensorRTGuidedDecodingConfig",
    "TensorRTKvCacheConfig",
    "TensorRTLoraConfig",
    "TensorRTQuantizationConfig",
    "TensorRTSchedulerConfig",
    "TensorRTSpeculativeConfig",
    "TensorRTTorchCompileConfig",
    "TrafficSimulationConfig",
    "VLLMAttentionConfig",
    "VLLMCompilationConfig",
    "VLLMConfig",
    "VLLMSpeculativeConfig",
    "VLLMStructuredOutputsConfig",
    "compute_config_hash",
    "config_from_settings",
    "leaf_paths",
    "problems_of",
    "schema_field",
    "settings",
    "warnings_for",
]
