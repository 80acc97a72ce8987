"""The base class of every part of the config."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, model_validator

from harness.config import _check

__all__ = ["Section"]


class Section(BaseModel):
    """A strict, immutable part of the config.

    Every field defaults to None, which states no intent: upstream's own default applies. Unknown
    keys are rejected; values are not coerced (``"true"``, ``1`` and ``True`` stay different).
    The rules that speak about this section alone hold for it alone, too.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    path_prefix: ClassVar[str] = ""
    """Where the section sits in the experiment config, with a trailing dot: ``"decoder."``."""

    @model_validator(mode="wrap")
    @classmethod
    def _obey_rules(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return _check.validated(cls, data, handler)
