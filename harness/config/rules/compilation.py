"""Rules about torch.compile."""

from __future__ import annotations

from harness.config.rules._rule import Rule

__all__ = ["RULES"]

_COMPILE, _MODE, _BACKEND = (
    "pytorch.torch_compile",
    "pytorch.torch_compile_mode",
    "pytorch.torch_compile_backend",
)


def _needs_compile(path: str, rule_id: str, value: str) -> Rule:
    return Rule(
        id=rule_id,
        backends=("pytorch",),
        parameters=(path, _COMPILE),
        violated=lambda values: path in values and values.get(_COMPILE) is not True,
        combination=f"{path} without {_COMPILE}=True",
        expected=f"{_COMPILE}=True",
        reason="It is an argument of torch.compile, which is not called otherwise",
        resolution=f"Set {_COMPILE}=True, or remove {path}",
        witness={path: value},
        neighbour={path: value, _COMPILE: True},
    )


RULES: tuple[Rule, ...] = (
    _needs_compile(_MODE, "compile.mode_without_compile", "reduce-overhead"),
    _needs_compile(_BACKEND, "compile.backend_without_compile", "inductor"),
    Rule(
        id="compile.mode_ignored_by_backend",
        backends=("pytorch",),
        severity="warning",
        parameters=(_MODE, _BACKEND),
        violated=lambda values: (
            values.get(_MODE, "default") != "default" and values.get(_BACKEND, "inductor") != "inductor"
        ),
        combination=f"{_MODE} other than 'default' with {_BACKEND} other than 'inductor'",
        expected="the inductor backend, or the default mode",
        reason="Modes are inductor's; PyTorch's other backends log 'ignoring extra kwargs'",
        resolution=f"Use {_BACKEND}='inductor', or remove {_MODE}",
        versions="torch 2.13",
        witness={_COMPILE: True, _MODE: "reduce-overhead", _BACKEND: "eager"},
        neighbour={_COMPILE: True, _MODE: "reduce-overhead", _BACKEND: "inductor"},
    ),
)
