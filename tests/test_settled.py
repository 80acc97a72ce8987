"""What of a read-back is compared: news is never hidden, and what varies by nature is never news."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.jsontypes import JSON
from harness.settled import ABSENT, ValueChange, changes


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("pid", 17657, 11397),
        ("other_pids", [17918], [11994]),
        ("_data_parallel_master_port_list", [51234], [40011]),
        ("data_parallel_master_port", 29500, 0),
        ("instance_id", "4f3a1", "9b2c7"),
        ("rss_bytes", 1 << 30, 2 << 30),
        ("available_memory", 5, 6),
        ("load_s", 1.234567, 1.345678),
        ("started_at", 3.0, 14023.123456),
        ("file", "/home/a/models/tiny/model.safetensors", "/home/b/model.safetensors"),
        ("file", ".cache/variants/awq-25c303603a087137-2fba302e/model.safetensors", "~/model.safetensors"),
        ("module", "code_25c303603a087137.a97b98b112615adc.mod", "code_aa11223344556677.0123456789abcdef.mod"),
        ("object", "<Lock at 0x7f12ab34cd56>", "<Lock at 0x7f99ab34cd00>"),
        ("init_method", "tcp://127.0.0.1:51111", "tcp://10.0.0.7:40000"),
        ("socket", "ipc:///tmp/3f0e4a5b", "ipc:///tmp/aa"),
    ],
)  # fmt: skip
def test_what_varies_by_nature_is_no_change(name: str, before: JSON, after: JSON) -> None:
    assert changes({name: before}, {name: after}) == []
    assert changes({"ranks": [{"deep": {name: before}}]}, {"ranks": [{"deep": {name: after}}]}) == []


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("block_size", 16, 128),
        ("footprint_bytes", 2894592, 1447296),
        ("kv_cache_memory_bytes", 64 << 20, 32 << 20),
        ("reset_timeout_s", 30.0, 60.0),
        ("stream_interval_s", 0.5, 0.25),
        ("commit", "25c303603a087137", "697a98b112615adc"),
        ("weights", "/models/tiny/model.safetensors", "/models/tiny/pytorch_model.bin"),
        ("model", "Qwen/Qwen2.5-0.5B", "Other/Qwen2.5-0.5B"),
        ("model", "models/tiny", "models/small"),
        ("attention_backends", {"CPU_ATTN": 4}, {"TORCH_SDPA": 4}),
        ("enforce_eager", True, 1),
        ("enforce_eager", False, None),
        ("temperature", 1, 1.0),
        ("tensors", ["a"], ["a", "b"]),
        ("transport", "tcp://127.0.0.1:1", "ipc:///tmp/x"),
        ("seconds", "1.5", "2.5"),
        ("time", True, False),
        ("rapid", 1, 2),
        ("support", "yes", "no"),
    ],
)
def test_what_a_parameter_may_have_done_is_a_change(name: str, before: JSON, after: JSON) -> None:
    found = changes({name: before, "same": 1}, {name: after, "same": 1})
    assert found
    assert all(change.path.startswith(name) for change in found)


def test_a_change_names_its_place_and_shows_both_sides_as_they_were_recorded() -> None:
    before: dict[str, JSON] = {
        "config": {"cache": {"block_size": 16}},
        "layers": [{"kind": "a"}, {"kind": "b"}],
        "files": ["/a/x", "/a/y"],
    }
    after: dict[str, JSON] = {
        "config": {"cache": {"block_size": 128}},
        "layers": [{"kind": "a"}],
        "files": ["/b/x", "/b/z"],
        "new": None,
    }
    assert changes(before, after) == [
        ValueChange("config.cache.block_size", 16, 128),
        ValueChange("files", ["/a/x", "/a/y"], ["/b/x", "/b/z"]),
        ValueChange("layers[1].kind", "b", ABSENT),
        ValueChange("new", ABSENT, None),
    ]


def test_a_run_that_read_nothing_back_differs_from_one_that_did() -> None:
    assert changes(None, None) == []
    assert changes(None, {"a": 1, "b": 2}) == [ValueChange("", "nothing read back", "2 values read back")]
    assert changes({"a": 1}, None) == [ValueChange("", "1 values read back", "nothing read back")]


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSONS, max_size=4))
def test_nothing_differs_from_itself(resolved: dict[str, JSON]) -> None:
    assert changes(resolved, resolved) == []


@given(st.dictionaries(st.text(), JSONS, max_size=4), st.dictionaries(st.text(), JSONS, max_size=4))
def test_both_directions_find_the_same_places(one: dict[str, JSON], two: dict[str, JSON]) -> None:
    there = [(change.path, change.before, change.after) for change in changes(one, two)]
    assert there == [(change.path, change.after, change.before) for change in changes(two, one)]
