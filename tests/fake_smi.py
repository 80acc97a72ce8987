"""An `nvidia-smi` for machines without GPUs: it lists what a test says there is."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SCRIPT = """#!{python}
import json, sys
gpus = json.loads({gpus!r})
for index, (uuid, instances) in enumerate(gpus.items()):
    if sys.argv[1] == "-L":
        print(f"GPU {{index}}: NVIDIA Toy (UUID: {{uuid}})")
        for number, instance in enumerate(instances):
            print(f"  MIG 1g.10gb     Device  {{number}}: (UUID: {{instance}})")
    else:
        print(f"{{index}}, NVIDIA Toy, {{uuid}}, 81559, 81000, 9.0, 580.00")
"""


def install(folder: Path, gpus: Sequence[str] | Mapping[str, Sequence[str]]) -> str:
    """A folder for PATH in which `nvidia-smi` lists these UUIDs, in the order of the bus, with their MIG instances."""
    listed = gpus if isinstance(gpus, Mapping) else dict.fromkeys(gpus, ())
    folder.mkdir()
    tool = folder / "nvidia-smi"
    tool.write_text(SCRIPT.format(python=sys.executable, gpus=json.dumps(listed)))
    tool.chmod(0o755)
    return str(folder)
