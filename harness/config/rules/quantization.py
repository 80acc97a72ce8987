"""Rules about asking for quantised weights: which method, and its companions."""

from collections.abc import Callable

from harness.config.rules._rule import Rule, Values, disagree

__all__ = ["RULES"]

_BNB_FIELDS = {
    "bnb_4bit_quant_type": ("nf4", "fp4"),
    "bnb_4bit_compute_dtype": ("bfloat16", "float16"),
    "bnb_4bit_use_double_quant": (True, False),
}
_SHARED, _NATIVE = "quantization", "pytorch"


def _both(first: str, second: str) -> Callable[[Values], bool]:
    return lambda values: values.get(first) is True and values.get(second) is True


def _exclusive(rule_id: str, four: str, eight: str, *, native: bool) -> Rule:
    return Rule(
        id=rule_id,
        backends=("pytorch",) if native else None,
        parameters=(four, eight),
        violated=_both(four, eight),
        combination=f"{four} + {eight}",
        expected="at most one of the two to be true",
        reason="Cannot use both 4-bit and 8-bit quantization simultaneously (BitsAndBytesConfig raises ValueError)",
        resolution="Choose one: load_in_4bit=True OR load_in_8bit=True",
        witness={four: True, eight: True},
        neighbour={four: True},
    )


def _disagreement(name: str, first: object, second: object) -> Rule:
    shared, native = f"{_SHARED}.{name}", f"{_NATIVE}.{name}"
    four_bit = {f"{_SHARED}.load_in_4bit": True, f"{_NATIVE}.load_in_4bit": True}
    extra = four_bit if name in _BNB_FIELDS else {}
    return Rule(
        id=f"quantization.{name}_disagrees",
        backends=("pytorch",),
        parameters=(shared, native),
        violated=disagree(shared, native),
        combination=f"{shared} differs from {native}",
        expected="equal values, or only one of the two",
        reason="Both set the same argument of BitsAndBytesConfig",
        resolution=f"Set only one of {shared} and {native}, or set both to the same value",
        witness={**extra, shared: first, native: second},
        neighbour={**extra, shared: first, native: first},
    )


def _needs_4bit(section: str, name: str, value: object) -> Rule:
    path, flag = f"{section}.{name}", f"{section}.load_in_4bit"
    native = section == _NATIVE
    return Rule(
        id=f"quantization.{'native_' if native else ''}{name}_needs_4bit",
        backends=("pytorch",) if native else None,
        parameters=(path, flag),
        violated=lambda values: path in values and values.get(flag) is not True,
        combination=f"{path} without {flag}=True",
        expected=f"{flag}=True",
        reason="The bnb_4bit_* fields describe weights loaded in 4 bits without asking for any; "
        "transformers 5.23 takes a BitsAndBytesConfig that only has them for 4 bits all the same",
        resolution=f"Set {flag}=True, or remove {path}",
        witness={path: value},
        neighbour={path: value, flag: True},
    )


def _flag_off(section: str, bits: str) -> Rule:
    flag, load = "quantization.quantization", f"{section}.load_in_{bits}"
    native = section == _NATIVE
    return Rule(
        id=f"quantization.off_with_{'native_' if native else ''}{bits}",
        backends=("pytorch",) if native else None,
        parameters=(flag, load),
        violated=lambda values: values.get(flag) is False and values.get(load) is True,
        combination=f"{flag}=False with {load}=True",
        expected="both to be true, or the flag to be omitted",
        reason="The two contradict each other",
        resolution=f"Remove {flag}, or set {load}=False",
        witness={flag: False, load: True},
        neighbour={load: True},
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="quantization.method_missing",
        parameters=(
            "quantization.quantization",
            "quantization.load_in_4bit",
            "quantization.load_in_8bit",
        ),
        violated=lambda values: (
            values.get("quantization.quantization") is True
            and values.get("quantization.load_in_4bit") is not True
            and values.get("quantization.load_in_8bit") is not True
        ),
        combination="quantization.quantization=True (without method)",
        expected="load_in_4bit=True or load_in_8bit=True beside it",
        reason="quantization flag alone doesn't specify which method to use (transformers 5.23 would take 4 bits)",
        resolution="Set load_in_4bit=True or load_in_8bit=True",
        witness={"quantization.quantization": True},
        neighbour={"quantization.quantization": True, "quantization.load_in_4bit": True},
    ),
    _exclusive(
        "quantization.4bit_and_8bit",
        "quantization.load_in_4bit",
        "quantization.load_in_8bit",
        native=False,
    ),
    _exclusive(
        "quantization.native_4bit_and_8bit",
        "pytorch.load_in_4bit",
        "pytorch.load_in_8bit",
        native=True,
    ),
    _exclusive(
        "quantization.4bit_and_native_8bit",
        "quantization.load_in_4bit",
        "pytorch.load_in_8bit",
        native=True,
    ),
    _exclusive(
        "quantization.8bit_and_native_4bit",
        "pytorch.load_in_4bit",
        "quantization.load_in_8bit",
        native=True,
    ),
    _disagreement("load_in_4bit", first=True, second=False),
    _disagreement("load_in_8bit", first=True, second=False),
    *(_disagreement(name, *values) for name, values in _BNB_FIELDS.items()),
    *(_needs_4bit(_SHARED, name, values[0]) for name, values in _BNB_FIELDS.items()),
    *(_needs_4bit(_NATIVE, name, values[0]) for name, values in _BNB_FIELDS.items()),
    *(_flag_off(section, bits) for section in (_SHARED, _NATIVE) for bits in ("4bit", "8bit")),
)
