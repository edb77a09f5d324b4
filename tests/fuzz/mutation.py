"""Breaking bytes: flips, cuts, splices, and the values that break parsers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

_NASTY: Final = (
    b"", b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b'"', b"\\u0000", b"\\ud800", b"null",
    b"NaN", b"1e999", b"-0", b"-1",
    b"9" * 400, b"1e-400", b"18446744073709551616", b"-9223372036854775809", b"0000-00-00T00:00:00Z", b"[" * 2000, b"{" * 2000,
    b'{"a":' * 900, b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"{}", b"[]", b"true", b"\r\n", b"'; DROP TABLE orders; --", b"${HOME}", b"{dir}", b"{0.__class__}", b"%s%n",
)  # fmt: skip


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, broken in one to four ways."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.choice((1, 2, 8, 64))]
            case 2:
                data[at:at] = rng.choice(_NASTY)
            case 3:
                other = rng.choice(seeds)
                start = rng.randrange(len(other) + 1)
                data[at : at + rng.randrange(32)] = other[start : start + rng.randrange(64)]
            case 4:
                del data[at:]
            case 5:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 16)))
            case _:
                data = _another_token(rng, data)
    return bytes(data)


def _another_token(rng: random.Random, data: bytearray) -> bytearray:
    """A number or word of a text replaced by a value that breaks parsers: what stays is well-formed more often than after a flip."""
    separators = b':,[]{}" \n='
    cuts = [i for i, byte in enumerate(data) if byte in separators]
    if len(cuts) < 2:
        return data
    which = rng.randrange(len(cuts) - 1)
    return data[: cuts[which] + 1] + bytearray(rng.choice(_NASTY)) + data[cuts[which + 1] :]
