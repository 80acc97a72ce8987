"""Names that upstream keeps here."""

from tensorrt_llm._interface import TYPES

BuildConfig = TYPES["BuildConfig"]
KVCacheType = TYPES["KVCacheType"]
