"""The exact versions whose private parts the chunk lane was written against."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

PINNED: Final = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}


class WrongVersion(RuntimeError):
    """A library is not the version the chunk lane knows: do not start."""


def check() -> None:
    """Raise WrongVersion unless every pinned library is installed in exactly its version."""
    wrong = [f"{name} {version(name)} (needs {wanted})" for name, wanted in PINNED.items() if version(name) != wanted]
    if wrong:
        raise WrongVersion(
            f"the chunk lane touches private parts of its libraries and was proved with exact versions only; found {', '.join(wrong)}. "
            "Install with `pip install -c constraints.txt`."
        )
