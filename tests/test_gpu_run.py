"""What runs on a GPU machine in one call: the model that is built there, and the script's refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interpreters import pytorch
from tests.projects import ROOT

LOAD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer("2 + 3 =", return_tensors="pt")
out = model.generate(**ids, max_new_tokens=5, do_sample=False)[0, ids["input_ids"].shape[1]:]
print(json.dumps({
    "prompt": ids["input_ids"][0].tolist(), "decoded": tokenizer.decode([599, 511]), "size": len(tokenizer),
    "tokens": len(out), "dtype": str(model.dtype), "hidden": model.config.hidden_size,
}))
"""


def build(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(pytorch()),
        "scripts/make_random_model.py",
        str(folder),
        "--layers",
        "1",
        "--vocabulary",
        "600",
        *more,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def script(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "HARNESS": sys.executable, "OUT": str(tmp_path)} | settings
    command = ["bash", str(ROOT / "scripts" / "gpu_run.sh")]
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_random_model_loads_reads_as_the_shipped_one_and_has_a_text_for_every_id(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    built = build(folder)
    assert built.returncode == 0, built.stderr
    found = subprocess.run(
        [str(pytorch()), "-c", LOAD, str(folder)], capture_output=True, text=True, check=True, timeout=300
    )
    told = json.loads(found.stdout.splitlines()[-1])
    # text is split as by the shipped tokenizer: no prompt holds an entry that was filled in
    assert told["prompt"]
    assert max(told["prompt"]) < 512
    assert told["decoded"].startswith(" r599")
    assert (told["size"], told["tokens"], told["dtype"], told["hidden"]) == (600, 5, "torch.bfloat16", 896)
    again = build(folder)
    assert again.stdout == f"{folder}: there already\n"


def test_a_folder_that_is_no_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    refused = build(tmp_path)
    assert refused.returncode == 2
    assert "is no model folder" in refused.stderr
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"PYTHON": "/nonexistent/python"}, "PYTHON=/nonexistent/python: no such interpreter"),
        ({"STEPS": "matrix dance"}, "expected some of matrix, energy; got dance"),
        ({}, "cannot import torch and transformers"),
    ],
)
def test_the_script_refuses_what_it_cannot_do_in_one_line(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    refused = script(tmp_path, **settings)
    assert refused.returncode == 2
    assert says in refused.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_the_script_says_how_to_try_it(tmp_path: Path) -> None:
    refused = script(tmp_path, PYTHON=str(pytorch()), CUDA_VISIBLE_DEVICES="")
    assert refused.returncode == 2
    assert "sees no GPU" in refused.stderr
    assert "DEVICE=cpu" in refused.stderr
