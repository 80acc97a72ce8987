"""The models that are derived from the shipped one load as upstream says they do."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.declare import Variant
from harness.plan import Run
from harness.variants import VariantError, Variants, model_hash
from matrix import MATRIX, grammar, variants, workloads
from matrix.variants import folders, hub, remote_code, rounding, tensors, torch_file
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
    hub.fill_hub_cache(MODEL, out / "hub")
    remote_code.fill_remote_code(MODEL, out / "remote", "paramatrix_tiny")
    remote_code.fill_remote_code(MODEL, out / "remote-optional")
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
    found = json.loads(lines.splitlines()[-1])
    answers = {found[name].pop() for name in ("trusted", "optional")}
    assert len(answers) == 1
    assert "15 ." not in answers, "the checkpoint's own code chooses other ids"
    assert found == {
        "main": ["transformers", "Qwen2ForCausalLM", "15 ."],
        "alt": ["transformers", "Qwen2ForCausalLM", "06 ."],
        "refused": "ValueError",
        "trusted": ["transformers_modules", "TinyForCausalLM"],
        "built in": ["transformers", "Qwen2ForCausalLM", "15 ."],
        "optional": ["transformers_modules", "TinyForCausalLM"],
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


BUILDER = """
from pathlib import Path
from {package} import helper, other

def fill(model, folder, word="plain"):
    folder.mkdir()
    (folder / "word").write_text(helper.WORD + word)
"""


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a builder and the two modules it imports, importable by its folder's name."""
    package = tmp_path / f"builders_{tmp_path.name}".replace("-", "_")
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("WORD = 'one '")
    (package / "other.py").touch()
    (package / "stranger.py").touch()
    (package / "builder.py").write_text(BUILDER.format(package=package.name))
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[name]


def built_folder(package: Path, cache: Path, *arguments: str) -> str:
    """Where the builder's variant ends up."""
    fill = importlib.import_module(f"{package.name}.builder").fill
    build = functools.partial(fill, word=arguments[0]) if arguments else fill
    return Variants(cache).resolve(run_of(Variant("words", build, folders.itself)))["model"]


def test_a_variant_is_built_again_when_a_module_its_builder_imports_changes(builder: Path, tmp_path: Path) -> None:
    first = built_folder(builder, tmp_path / "cache")
    (builder / "helper.py").write_text("WORD = 'two '")
    assert built_folder(builder, tmp_path / "cache") != first


def test_a_variant_is_kept_when_a_module_its_builder_does_not_import_changes(builder: Path, tmp_path: Path) -> None:
    first = built_folder(builder, tmp_path / "cache")
    (builder / "stranger.py").write_text("WORD = 'three '")
    assert built_folder(builder, tmp_path / "cache") == first


def test_a_partial_builds_one_variant_for_each_of_its_arguments(builder: Path, tmp_path: Path) -> None:
    plain, red, blue = (built_folder(builder, tmp_path / "cache", *word) for word in ((), ("red",), ("blue",)))
    assert len({plain, red, blue}) == 3
    assert [Path(place, "word").read_text() for place in (plain, red, blue)] == ["one plain", "one red", "one blue"]
    assert built_folder(builder, tmp_path / "cache", "red") == red


def test_a_variant_is_built_by_any_callable(tmp_path: Path) -> None:
    class Fill:
        def __call__(self, _model: Path, folder: Path) -> None:
            folder.mkdir()

    assert Path(Variants(tmp_path).resolve(run_of(Variant("object", Fill(), folders.itself)))["model"]).is_dir()


TORCH = """
import sys, torch
from safetensors.torch import load_file
ours, theirs = torch.load(sys.argv[1], weights_only=True), load_file(sys.argv[2])
assert list(ours) == list(theirs), (list(ours)[:3], list(theirs)[:3])
for name, tensor in theirs.items():
    assert ours[name].dtype == tensor.dtype and ours[name].shape == tensor.shape and ours[name].equal(tensor), name
scalar = torch.load(sys.argv[3], weights_only=True)
assert scalar["none"].shape == (0, 3) and scalar["one"].item() == 7.0 and scalar["long"].tolist() == [1, -2], scalar
"""


def test_torch_reads_what_we_write_without_it(pytorch_python: str, tmp_path: Path) -> None:
    theirs = MODEL / tensors.WEIGHTS
    torch_file.write(tmp_path / "model.pt", tensors.read(theirs))
    small = {
        "none": tensors.of_floats((0, 3), []),
        "one": tensors.of_floats((), [7.0]),
        "long": tensors.of_longs((2,), [1, -2]),
    }
    torch_file.write(tmp_path / "small.pt", small)
    run(pytorch_python, "-c", TORCH, str(tmp_path / "model.pt"), str(theirs), str(tmp_path / "small.pt"))


FLOAT8 = """
import json, sys, torch
numbers = json.loads(sys.argv[1])
print(json.dumps(torch.tensor(numbers).to(torch.float8_e4m3fn).view(torch.uint8).tolist()))
"""


def test_float8_rounds_as_torch_does(pytorch_python: str) -> None:
    numbers = [*tensors.noise((400,), 30.0, "float8").floats(), 0.0, 448.0, -448.0, 0.001, 0.0009, 1.03, 440.0]
    found = run(pytorch_python, "-c", FLOAT8, json.dumps(numbers))
    assert list(rounding.to_float8(numbers, 1.0)) == json.loads(found)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_moves_a_weight_by_half_a_step_at_most(bits: int, symmetric: bool) -> None:
    weight = tensors.noise((3, 64), 1.0, "rounding")
    rounded = rounding.to_integers(weight, bits=bits, group=32, symmetric=symmetric)
    for place, number in enumerate(weight.floats()):
        scale, zero = rounded.scales[place // 32], rounded.zeros[place // 32]
        # A float16 scale and a whole zero can leave the group's outermost numbers a little out of range.
        assert abs((rounded.codes[place] - zero) * scale - number) <= scale * (0.5 if symmetric else 0.6) + 1e-6


def test_a_tensor_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\) takes 6 numbers, not 5"):
        tensors.of_floats((2, 3), [0.0] * 5)


def test_groups_that_do_not_divide_a_weight_are_refused() -> None:
    with pytest.raises(ValueError, match="groups of 48 do not divide a weight of 64 inputs"):
        rounding.to_integers(tensors.noise((2, 64), 1.0, ""), bits=4, group=48, symmetric=True)


def test_texts_to_calibrate_on_lie_beside_the_model_as_lines_of_one_column(tmp_path: Path) -> None:
    variants.CALIBRATION.build(MODEL, tmp_path / "model")
    parts = {
        name: [json.loads(line) for line in (tmp_path / "model" / "texts" / name).read_text().splitlines()]
        for name in ("train.jsonl", "validation.jsonl")
    }
    assert parts["train.jsonl"] != parts["validation.jsonl"]
    for lines in parts.values():
        assert len(lines) == 32
        assert all(list(line) == ["text"] and line["text"] and grammar.EOS not in line["text"] for line in lines)
    assert model_hash(tmp_path / "model") is not None


def test_building_a_variant_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for variant in (variants.ADAPTERS, variants.AWQ, variants.DRAFT, variants.FLOAT8, variants.FORMATS, variants.GPTQ):
        for name in ("one", "two"):
            variant.build(MODEL, tmp_path / variant.name / name)
        one, two = (model_hash(tmp_path / variant.name / name) for name in ("one", "two"))
        assert one == two, variant.name
