"""The models that are derived from the shipped one load as upstream says they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.declare import Variant
from harness.plan import Run
from harness.variants import VariantError, Variants
from matrix import MATRIX, variants, workloads
from tests.interpreters import run

MODEL = MATRIX.shipped_model

ASK = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
found = {}
for name, place, keywords in json.loads(sys.argv[1]):
    try:
        model = AutoModelForCausalLM.from_pretrained(place, **keywords)
    except Exception as error:
        found[name] = type(error).__name__
        continue
    tokenizer = AutoTokenizer.from_pretrained(place, **keywords)
    ids = tokenizer("7 plus 8 is", return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids.input_ids.shape[1]:]
    answer = tokenizer.decode(out, skip_special_tokens=True).strip()
    found[name] = [type(model).__module__.split(".")[0], type(model).__name__, answer]
print(json.dumps(found))
"""


def run_of(variant: Variant | None, model: Path = MODEL) -> Run:
    return Run("pytorch", str(model), variant, {}, {}, workloads.SUMS, frozenset())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("variants")
    variants.fill_hub_cache(MODEL, out / "hub")
    variants.fill_remote_code(MODEL, out / "remote", "paramatrix_tiny")
    variants.fill_remote_code(MODEL, out / "remote-optional")
    return out


def test_variants_resolve_as_upstream_expects(pytorch_python: str, built: Path) -> None:
    remote, optional = str(built / "remote"), str(built / "remote-optional")
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        ("main", variants.REPO, {}),
        ("alt", variants.REPO, {"revision": "alt"}),
        ("refused", remote, {"trust_remote_code": False}),
        ("trusted", remote, {"trust_remote_code": True}),
        ("built in", optional, {"trust_remote_code": False}),
        ("optional", optional, {"trust_remote_code": True}),
    ]
    lines = run(pytorch_python, "-c", ASK, json.dumps(wanted), HF_HOME=str(built))
    assert json.loads(lines.splitlines()[-1]) == {
        "main": ["transformers", "Qwen2ForCausalLM", "15 ."],
        "alt": ["transformers", "Qwen2ForCausalLM", "06 ."],
        "refused": "ValueError",
        "trusted": ["transformers_modules", "TinyForCausalLM", "15 ."],
        "built in": ["transformers", "Qwen2ForCausalLM", "15 ."],
        "optional": ["transformers_modules", "TinyForCausalLM", "15 ."],
    }


def test_a_variant_is_built_once_and_found_again(tmp_path: Path) -> None:
    first = Variants(tmp_path).resolve(run_of(variants.HUB))
    made = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    assert Variants(tmp_path).resolve(run_of(variants.HUB)) == first
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*") if "hub-" in path.name) == [
        item for item in made if "hub-" in item[0].name
    ]


def test_a_run_without_a_variant_loads_the_model_itself(tmp_path: Path) -> None:
    assert Variants(tmp_path).resolve(run_of(None)) == {"model": str(MODEL)}


def test_a_variant_of_a_model_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(VariantError, match="remote-code"):
        Variants(tmp_path / "cache").resolve(run_of(variants.REMOTE_CODE, tmp_path / "nothing"))
