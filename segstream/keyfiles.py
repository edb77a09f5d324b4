"""The signing keys in `home/keys`: one private key that signs, and the public keys that are trusted, one a line."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.signing import Signer, key_id


class KeyFiles:
    """The files of one home; made on first use."""

    def __init__(self, home: Path) -> None:
        self._private = home / "keys" / "signing.key"
        self._public = home / "keys" / "signing.pub"

    def signer(self) -> Signer:
        """The key that signs."""
        if not self._private.exists():
            self._begin(Signer.generate(), [])
        return Signer.from_text(self._private.read_text())

    def trusted(self) -> list[str]:
        """The public keys that are trusted, the latest first."""
        if not self._public.exists():
            self.signer()
        return [line.strip() for line in self._public.read_text().splitlines() if line.strip()]

    def rotate(self) -> Signer:
        """A new key signs from now on; the others stay trusted until they are retired."""
        before = self.trusted()
        made = Signer.generate()
        self._begin(made, before)
        return made

    def retire(self, which: str) -> str:
        """Trust a key (by its id) no longer; returns its public key. Raises LookupError where it is not there or is the one that signs."""
        own, known = self.signer().public, {key_id(text): text for text in self.trusted()}
        if which not in known:
            raise LookupError(f"key {which!r} is not among the trusted ones here: {', '.join(known)}")
        if known[which] == own:
            raise LookupError(f"key {which!r} is the one that signs: `segstream keys rotate` first")
        _write(self._public, "".join(f"{text}\n" for name, text in known.items() if name != which), 0o644)
        return known[which]

    def _begin(self, made: Signer, before: list[str]) -> None:
        self._private.parent.mkdir(parents=True, exist_ok=True)
        # Trusted before it signs: nobody may meet a model whose key he does not know yet.
        _write(self._public, "".join(f"{text}\n" for text in (made.public, *before)), 0o644)
        _write(self._private, made.to_text(), 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    """All of it or nothing, and never readable by more than `mode` allows."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    partial.replace(path)
