"""The raw logits against the scores that tokens are drawn from, one summary a step and row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.backends.base import Step

LISTED = 64
"""Most ids listed in `Step.barred`, `Step.moved` and `Step.context`."""


SAMPLED_LOGITS = 256
"""Most logits of a position that are reported."""


def thin(logits: Any) -> list[float]:
    """A position's logits at evenly spaced ids, `SAMPLED_LOGITS` at most."""
    stride = max(1, -(-int(logits.shape[0]) // SAMPLED_LOGITS))
    values: list[float] = logits[::stride].float().tolist()
    return values


def summarise(raw: Any, processed: Any, context: Any) -> Step:
    """Compare one row of raw logits with the scores made of it."""
    import torch

    raw, processed = raw.double(), processed.double()
    left = torch.isfinite(processed)
    barred = torch.where(torch.isneginf(processed) & torch.isfinite(raw))[0]
    seen = torch.zeros_like(left)
    seen[context[(context >= 0) & (context < raw.shape[0])]] = True
    comparable = left & (processed.abs() > 1e-9) & torch.isfinite(raw)
    plain = comparable & ~seen
    # an id of the context may be moved by a penalty: where only such ids are left, the common
    # scale cannot be told from the penalty and is not guessed
    ratios = (raw / processed)[plain]
    scale = float(ratios.median()) if ratios.numel() else None
    even = raw / scale if scale else raw
    moved = left & ((processed - even).abs() > 1e-4 * even.abs().clamp(min=1.0))
    if scale is None:
        moved = torch.zeros_like(left)

    # ids that were removed are put back where they would have been, to know what share was kept
    whole = torch.softmax(torch.where(left, processed, even), dim=-1)
    best = whole.max()
    inside = whole[left]
    outside = whole[~left]
    at = torch.where(moved)[0][:LISTED]
    before, after = even[at], processed[at]
    factors = torch.where(before > 0, before / after, after / before)
    return {
        "finite": int(left.sum()),
        "vocabulary": int(raw.shape[0]),
        "barred": barred.tolist() if len(barred) <= LISTED else None,
        "scale": scale,
        "kept_mass": float(inside.sum()),
        "kept_mass_without_last": float(inside.sum() - inside.min()) if inside.numel() else 0.0,
        "kept_min_ratio": float(inside.min() / best) if inside.numel() else 0.0,
        "dropped_max_ratio": float(outside.max() / best) if outside.numel() else None,
        "moved": at.tolist(),
        "context": torch.where(seen & left)[0][:LISTED].tolist(),
        "shifts": {str(int(token)): float(shift) for token, shift in zip(at, before - after, strict=True)},
        "penalty": float(factors.median()) if factors.numel() else None,
        "argmax": int(raw.argmax()),
    }
