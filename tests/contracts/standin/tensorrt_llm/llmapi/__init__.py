"""Names that upstream exports here."""

from tensorrt_llm._interface import TYPES
from tensorrt_llm._llm import LLM

EXPORTED = (
    "AutoDecodingConfig",
    "BatchingType",
    "BuildCacheConfig",
    "BuildConfig",
    "CalibConfig",
    "CapacitySchedulerPolicy",
    "ContextChunkingPolicy",
    "CudaGraphConfig",
    "DraftTargetDecodingConfig",
    "DynamicBatchConfig",
    "EagleDecodingConfig",
    "GuidedDecodingParams",
    "KvCacheConfig",
    "LoRARequest",
    "MTPDecodingConfig",
    "NGramDecodingConfig",
    "QuantAlgo",
    "QuantConfig",
    "SamplingParams",
    "SchedulerConfig",
    "TorchCompileConfig",
    "TorchLlmArgs",
    "TrtLlmArgs",
)
globals().update({name: TYPES[name] for name in EXPORTED})
__all__ = ["LLM", *EXPORTED]  # noqa: PLE0604 - names, all of them
