"""Samples of customers that are the same each time: by a hash of the user id, not by chance."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def hash_sample(user_ids: Sequence[str], size: int) -> list[int]:
    """Positions of `size` customers (all, if there are fewer), ascending. A customer stays in the sample while others come and go.

    >>> hash_sample(["a", "b", "c"], 2) == hash_sample(["a", "b", "c"], 2)
    True
    >>> hash_sample(["a", "b"], 5)
    [0, 1]
    """
    if len(user_ids) <= size:
        return list(range(len(user_ids)))
    digests = [hashlib.blake2b(user_id.encode(), digest_size=8).digest() for user_id in user_ids]
    return sorted(sorted(range(len(user_ids)), key=lambda i: (digests[i], user_ids[i]))[:size])
