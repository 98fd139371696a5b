"""How much of what is learnt one API key may tell, so that a key that lies moves little."""

from collections import Counter
from collections.abc import Sequence

RECENT = 200  #: learnt outcomes that a share is taken of
FEWEST = 20  #: a share is never taken of fewer


def holds_too_much(recent: Sequence[str], actor: str, max_key_share: float) -> bool:
    """Whether by one more outcome `actor` would hold more than `max_key_share` of the last 200 learnt.

    Args:
        recent: who told the learnt outcomes before this one, oldest first; those beyond the last 199 do not count.
        actor: who tells this one.
        max_key_share: (0, 1]; 1 lets a single key tell everything.

    >>> holds_too_much(["engine"] * 60 + ["other"] * 9, "other", max_key_share=0.1)
    True
    """
    window = recent[-(RECENT - 1) :]
    held = Counter(window)[actor] + 1
    return held > max_key_share * max(FEWEST, len(window) + 1)
