"""A hub cache that holds the shipped model in two revisions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders, tensors

REPO: Final = "paramatrix/tiny"


def fill_hub_cache(model: Path, folder: Path) -> None:
    """Fill a hub cache (HF_HUB_CACHE) that holds `paramatrix/tiny` twice.

    Branch `main` is the shipped model. Branch `alt` has the embedding rows of the digits
    moved on by one: it reads 7 as 8 and writes 8 as 7, so it answers "7 plus 8 is" with
    "06 ." (8 + 9 = 17, one less in every digit).
    """
    repo = folder / f"models--{REPO.replace('/', '--')}"
    for kind in ("blobs", "refs", "snapshots"):
        (repo / kind).mkdir(parents=True)
    files = {path.name: path.read_bytes() for path in folders.files(model)}
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


def _rotate_digits(model: Path) -> bytes:
    """The weights with the embedding row of digit d taken from digit d + 1 (9 from 0)."""
    vocabulary = folders.read_json(model / "tokenizer.json")["model"]["vocab"]
    weights = tensors.read(model / tensors.WEIGHTS)
    table = weights["model.embed_tokens.weight"]
    width = len(table.data) // table.shape[0]
    data = bytearray(table.data)
    places = [width * vocabulary[str(digit)] for digit in range(10)]
    digits = [table.data[place : place + width] for place in places]
    for place, row in zip(places, digits[1:] + digits[:1], strict=True):
        data[place : place + width] = row
    return tensors.dump(weights | {"model.embed_tokens.weight": replace(table, data=bytes(data))})


HUB = Variant("hub", fill_hub_cache, lambda folder: {"model": REPO, "cache_dir": str(folder)})
