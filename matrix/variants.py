"""Models derived from the shipped one: a hub cache with two revisions, a model with remote code.

Standard library only, so that no backend is needed to build them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Final

from harness.declare import Variant

REPO: Final = "paramatrix/tiny"
WINDOW: Final = 32
"""Tokens that a sliding layer attends to, in the variants that have any."""

CONFIGURATION: Final = '''\
"""A configuration that lives with its model: loading it needs trust_remote_code."""

from transformers import Qwen2Config


class TinyConfig(Qwen2Config):
    model_type = "{model_type}"
'''

MODELING: Final = '''\
"""A model class that lives with its weights: the shipped model under another name."""

from transformers import Qwen2ForCausalLM

from .configuration_tiny import TinyConfig


class TinyForCausalLM(Qwen2ForCausalLM):
    config_class = TinyConfig
'''


def fill_hub_cache(model: Path, folder: Path) -> None:
    """Fill a hub cache (HF_HUB_CACHE) that holds `paramatrix/tiny` twice.

    Branch `main` is the shipped model. Branch `alt` has the embedding rows of the digits
    moved on by one: it reads 7 as 8 and writes 8 as 7, so it answers "7 plus 8 is" with
    "06 ." (8 + 9 = 17, one less in every digit).
    """
    repo = folder / f"models--{REPO.replace('/', '--')}"
    for kind in ("blobs", "refs", "snapshots"):
        (repo / kind).mkdir(parents=True)
    files = {path.name: path.read_bytes() for path in _files(model)}
    changed = files | {"model.safetensors": _rotate_digits(model)}
    for branch, revision in (("main", files), ("alt", changed)):
        blobs = {name: hashlib.sha256(data).hexdigest() for name, data in revision.items()}
        # A commit is 40 hex digits; taking them from the content keeps builds equal.
        listing = json.dumps(blobs, sort_keys=True).encode()
        commit = hashlib.sha256(listing).hexdigest()[:40]
        (repo / "refs" / branch).write_text(commit, encoding="ascii")
        snapshot = repo / "snapshots" / commit
        snapshot.mkdir()
        for name, blob in blobs.items():
            (repo / "blobs" / blob).write_bytes(revision[name])
            (snapshot / name).symlink_to(Path("..", "..", "blobs", blob))


def fill_remote_code(model: Path, folder: Path, model_type: str = "qwen2") -> None:
    """Fill a model folder whose classes are code of its own.

    Calling itself a qwen2 it loads either way: without trust_remote_code upstream falls back
    to the built-in classes, which makes a control. Under a type of its own it is refused.
    """
    folder.mkdir(parents=True)
    for path in _files(model):
        shutil.copyfile(path, folder / path.name)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["model_type"] = model_type
    # The architecture's name is left alone: engines with kernels of their own go by
    # it, and for them the remote code is then the configuration only.
    config["auto_map"] = {
        "AutoConfig": "configuration_tiny.TinyConfig",
        "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM",
    }
    _write(folder / "config.json", json.dumps(config, indent=2) + "\n")
    _write(folder / "configuration_tiny.py", CONFIGURATION.format(model_type=model_type))
    _write(folder / "modeling_tiny.py", MODELING)


def _rotate_digits(model: Path) -> bytes:
    """The weights with the embedding row of digit d taken from digit d + 1 (9 from 0)."""
    tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    data = bytearray((model / "model.safetensors").read_bytes())
    (header_size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_size])
    table = header["model.embed_tokens.weight"]
    begin, end = (8 + header_size + offset for offset in table["data_offsets"])
    width = (end - begin) // table["shape"][0]
    places = [begin + width * vocabulary[str(digit)] for digit in range(10)]
    digits = [bytes(data[place : place + width]) for place in places]
    for place, row in zip(places, digits[1:] + digits[:1], strict=True):
        data[place : place + width] = row
    return bytes(data)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _fill_sliding(model: Path, folder: Path, layers: int) -> None:
    folder.mkdir(parents=True)
    for path in _files(model):
        shutil.copyfile(path, folder / path.name)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    count = config["num_hidden_layers"]
    kinds = ["sliding_attention"] * layers + ["full_attention"] * (count - layers)
    config |= {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": kinds, "max_window_layers": 0}
    _write(folder / "config.json", json.dumps(config, indent=2) + "\n")


def fill_sliding(model: Path, folder: Path) -> None:
    """Fill a model folder in which every layer attends to the last `WINDOW` tokens only."""
    _fill_sliding(model, folder, json.loads((model / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"])


def fill_half_sliding(model: Path, folder: Path) -> None:
    """Fill a model folder whose first two layers slide and whose others see everything."""
    _fill_sliding(model, folder, 2)


def _itself(folder: Path) -> dict[str, str]:
    return {"model": str(folder)}


HUB = Variant("hub", fill_hub_cache, lambda folder: {"model": REPO, "cache_dir": str(folder)})
REMOTE_CODE = Variant("remote-code", fill_remote_code, _itself)
SLIDING = Variant("sliding", fill_sliding, _itself)
HALF_SLIDING = Variant("half-sliding", fill_half_sliding, _itself)
