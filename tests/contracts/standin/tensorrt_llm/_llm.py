"""`LLM` of both paths: takes and refuses arguments as upstream does, records them, and runs no model."""

# ruff: noqa: ARG002, PLR0917 - upstream's signatures

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tensorrt_llm._interface import TYPES

GIVEN: list[dict[str, Any]] = []
"""What was given to `LLM` and to its requests, in order: objects as they came."""

SamplingParams: Any = TYPES["SamplingParams"]
TEXT = " stand-in"


class Tokenizer:
    """A token a byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())


class Sequence:
    """Upstream's `CompletionOutput`, with nothing that was computed."""

    def __init__(self, index: int, tokens: int) -> None:
        self.index = index
        self.token_ids = list(TEXT.encode())[:tokens]
        self.text = bytes(self.token_ids).decode()
        self.cumulative_logprob: float | None = None
        self.logprobs: list[Any] = []
        self.prompt_logprobs: list[Any] = []
        self.finish_reason, self.stop_reason = "length", None
        self.generation_logits = None
        self.request_perf_metrics = None


class Result:
    """Upstream's `RequestOutput`: it is both the result and the stream of its pieces."""

    def __init__(self, number: int, prompt: Any, params: Any, *, streaming: bool) -> None:
        self.request_id = number
        self.prompt_token_ids = prompt["prompt_token_ids"] if isinstance(prompt, dict) else list(prompt.encode())
        self.outputs = [Sequence(index, params.max_tokens) for index in range(params.n)]
        self.context_logits = None
        self.finished = True
        self._whole = [list(sequence.token_ids) for sequence in self.outputs]
        self._left = [1, len(self._whole[0])] if streaming else [len(self._whole[0])]

    def __aiter__(self) -> Result:
        return self

    async def __anext__(self) -> Result:
        if not self._left:
            raise StopAsyncIteration
        await asyncio.sleep(0)
        count = self._left.pop(0)
        for sequence, whole in zip(self.outputs, self._whole, strict=True):
            sequence.token_ids = whole[:count]
            sequence.text = bytes(sequence.token_ids).decode()
        return self


class LLM:
    """The PyTorch path."""

    ARGS = "TorchLlmArgs"

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        named = {
            "model": model,
            "tokenizer": tokenizer,
            "tokenizer_mode": tokenizer_mode,
            "skip_tokenizer_init": skip_tokenizer_init,
            "trust_remote_code": trust_remote_code,
            "tensor_parallel_size": tensor_parallel_size,
            "dtype": dtype,
            "revision": revision,
            "tokenizer_revision": tokenizer_revision,
        }
        GIVEN.append({"call": self._name(), "given": {**named, **kwargs}})
        self._refuse(kwargs)
        cls: Any = TYPES[self.ARGS]
        if unknown := [key for key in kwargs if key not in {*cls.model_fields, "_mpi_session", "backend"}]:
            raise ValueError(f"{type(self).__name__} got invalid argument: {unknown[0]}")
        self.args: Any = cls(**named, **kwargs)
        speculation = getattr(self.args.speculative_config, "paths", None)
        if speculation and cls.path not in speculation:
            raise ValueError(
                f"Speculation type {self.args.speculative_config.decoding_type} does not support backend {cls.path}"
            )
        self.tokenizer = None if skip_tokenizer_init else Tokenizer()
        self._hf_model_dir = Path(str(model))
        self._executor: Any = None
        self._engine_dir: Path | None = None
        self._requests = 0
        self._load()

    @classmethod
    def _name(cls) -> str:
        return "LLM"

    def _refuse(self, kwargs: dict[str, Any]) -> None:
        """Arguments of the other path are named as such."""
        special = set(TYPES["TrtLlmArgs"].model_fields) - set(TYPES["TorchLlmArgs"].model_fields)
        if found := [key for key in kwargs if key in special]:
            raise ValueError(
                "The following arguments are specific to TensorRT backend and cannot be used with PyTorch backend: "
                f"{found}"
            )

    def _load(self) -> None:
        """Nothing is loaded."""

    def generate(
        self,
        inputs: Any,
        sampling_params: Any = None,
        use_tqdm: bool = True,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: Any = None,
    ) -> list[Result]:
        def at(given: Any, place: int) -> Any:
            return given[place] if isinstance(given, list) else given

        return [
            self.generate_async(
                prompt,
                at(sampling_params, place),
                lora_request=at(lora_request, place),
                cache_salt=at(cache_salt, place),
                streaming=False,
            )
            for place, prompt in enumerate(inputs)
        ]

    def generate_async(
        self,
        inputs: Any,
        sampling_params: Any = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: Any = None,
    ) -> Result:
        if not isinstance(sampling_params, SamplingParams):
            raise TypeError(f"The sampling_params must be type SamplingParams or None, but got {type(sampling_params)}")
        GIVEN.append(
            {
                "call": "LLM.generate_async",
                "given": {
                    "inputs": inputs,
                    "sampling_params": sampling_params,
                    "lora_request": lora_request,
                    "streaming": streaming,
                    "cache_salt": cache_salt,
                },
            }
        )
        self._requests += 1
        return Result(self._requests, inputs, sampling_params, streaming=streaming)

    def get_stats(self, timeout: float | None = 2) -> list[dict[str, Any]]:
        return []

    def get_kv_cache_events(self, timeout: float | None = 2) -> list[dict[str, Any]]:
        return []

    def shutdown(self) -> None:
        """Nothing runs."""


class TrtLLM(LLM):
    """The engine path: files stand for an engine, made anew or taken from the build cache."""

    ARGS = "TrtLlmArgs"

    @classmethod
    def _name(cls) -> str:
        return "_tensorrt_engine.LLM"

    def _refuse(self, kwargs: dict[str, Any]) -> None:
        if kwargs.get("backend") is not None:
            raise ValueError(f"backend {kwargs['backend']} is not supported.")

    def _load(self) -> None:
        if self.args.build_config is None:
            sizes = ("max_batch_size", "max_num_tokens", "max_seq_len", "max_beam_width", "max_input_len")
            given = {name: getattr(self.args, name) for name in sizes if getattr(self.args, name)}
            self.args.build_config = TYPES["BuildConfig"](**given)
        text = self.args.build_config.model_dump_json()
        self.llm_build_stats = type("LlmBuildStats", (), {"build_steps_info": []})()
        self._workspace = tempfile.TemporaryDirectory(suffix="-llm-workspace")
        folder = Path(self._workspace.name) / "tmp.engine"
        if cache := self.args.enable_build_cache:
            folder = Path(cache.cache_root) / f"engine-{hashlib.sha256(text.encode()).hexdigest()[:16]}" / "content"
        if folder.exists():
            self._engine_dir = folder
            return
        folder.mkdir(parents=True)
        config = {"pretrained_config": {"architecture": "stand-in"}, "build_config": json.loads(text)}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "rank0.engine").write_bytes(b"stand-in")
        self.llm_build_stats.build_steps_info.append(("Building TRT-LLM engine", 0.0))
        self._engine_dir = folder

    def shutdown(self) -> None:
        shutil.rmtree(self._workspace.name, ignore_errors=True)
