"""A hub cache that holds the shipped model in two revisions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import digits, folders, tensors

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
    turned = digits.turned(tensors.read(model / tensors.WEIGHTS), model, by=1)
    files = {path.name: path.read_bytes() for path in folders.files(model)}
    changed = files | {"model.safetensors": tensors.dump(turned)}
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


HUB = Variant("hub", fill_hub_cache, lambda folder: {"model": REPO, "cache_dir": str(folder)})
