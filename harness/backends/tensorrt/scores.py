"""What the logits that upstream returns tell of each drawn token.

They are the model's own, from before penalties, temperature and filters; the scores that a token is drawn from
are not returned. So a step says where among the logits the drawn token stands, and gives those that decide.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from harness.backends.steps import thin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.backends.base import Output, Step
    from harness.jsontypes import JSON

LIKELIEST = 128
CONTEXT = 512
"""Most ids whose logits, and most ids whose counts, a step lists."""


def first_logits(rows: Any) -> list[float]:
    """The first generated position's logits at evenly spaced ids."""
    return thin(rows[0])


def steps_of(rows: Any, asked: Sequence[int], output: Output, also: set[int], end: int | None) -> list[Step]:
    """One summary a generated token.

    Args:
        rows: logits, one row a token.
        asked: ids of the prompt.
        output: what was generated.
        also: ids whose logits are listed in any case.
        end: id that ends the request.
    """
    import torch

    before, after = Counter(asked), Counter[int]()
    found: list[Step] = []
    for place, (row, token) in enumerate(zip(rows, output["token_ids"], strict=False)):
        logits = row.detach().float().cpu()
        shares = torch.softmax(logits, dim=-1)
        own = float(shares[token])
        above = shares > own
        ids = list(dict.fromkeys([*before, *after]))[:CONTEXT]
        listed = {*logits.topk(min(LIKELIEST, logits.shape[0])).indices.tolist(), *ids, token, *also}
        step: dict[str, JSON] = {
            "prompt": output["prompt"],
            "seed": output["seed"],
            "step": place,
            "vocabulary": int(logits.shape[0]),
            "argmax": int(logits.argmax()),
            "token": token,
            "rank": int(above.sum()),
            "share": own,
            "above": float(shares[above].sum()),
            "ratio": own / float(shares.max()),
            "end": end,
            "context": {str(each): [before[each], after[each]] for each in ids},
            "raw": {str(each): float(logits[each]) for each in sorted(listed)},
        }
        found.append(cast("Step", step))
        after[token] += 1
    return found
