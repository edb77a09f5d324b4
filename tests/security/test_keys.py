"""Whose models are accepted, while the key is being replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from sandbox.redis import Redis
from schemas.artifact import RejectedModel, model_id
from schemas.registry import Registry
from schemas.sealed import from_bytes, to_bytes
from schemas.settings import Settings
from schemas.signing import Keyring, Signer, key_id
from segstream import context
from segstream.cli import app
from tests.schemas.models import artifact


def test_while_a_key_is_replaced_both_are_accepted_and_a_stranger_never() -> None:
    old, new, stranger = Signer.generate(), Signer.generate(), Signer.generate()
    by_old, by_new, by_stranger = (to_bytes(artifact(), signer) for signer in (old, new, stranger))
    before, between, after = Keyring([old.public]), Keyring([new.public, old.public]), Keyring([new.public])
    accepted = {
        (ring, who): _accepts(keys, data)
        for ring, keys in (("before", before), ("between", between), ("after", after))
        for who, data in (("old", by_old), ("new", by_new), ("stranger", by_stranger))
    }
    assert [place for place, yes in accepted.items() if yes] == [
        ("before", "old"), ("between", "old"), ("between", "new"), ("after", "new"),
    ]  # fmt: skip


def _accepts(keys: Keyring, data: bytes) -> bool:
    try:
        from_bytes(data, keys)
    except RejectedModel:
        return False
    return True


def test_a_key_is_replaced_by_commands_and_never_while_it_is_needed(
    own_redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSTREAM_HOME", str(tmp_path))
    monkeypatch.setenv("SEGSTREAM_REDIS", own_redis.url)
    settings = Settings()
    registry = Registry(redis.Redis.from_url(own_redis.url))

    def publish(shift: float) -> str:
        made = artifact(shift=shift)
        registry.publish(model_id(made), to_bytes(made, context.signer(settings)), at=1, by="test")
        return model_id(made)

    old = key_id(context.signer(settings).public)
    first = publish(0.0)
    assert run("keys", "retire", old)[0] == 1, "the one that signs"
    code, rotated = run("keys", "rotate")
    assert code == 0
    assert rotated["id"] != old
    from_bytes(registry.load(first) or b"", context.keyring(settings))
    code, refused = run("keys", "retire", old)
    assert code == 1
    assert f"active model {first}" in refused["error"]["message"]
    second = publish(0.1)
    rows = {row["id"]: row for row in run("keys", "list")[1]["keys"]}
    assert rows[old]["models"] == [first]
    assert rows[rotated["id"]] | {"public": ""} == {
        "id": rotated["id"],
        "public": "",
        "signs": True,
        "models": [second],
    }
    assert run("keys", "retire", old) == (0, {"id": old, "public": rows[old]["public"], "models": [first]})
    from_bytes(registry.load(second) or b"", context.keyring(settings))
    with pytest.raises(RejectedModel, match="not trusted here"):
        from_bytes(registry.load(first) or b"", context.keyring(settings))
    assert (tmp_path / "keys" / "signing.key").stat().st_mode & 0o077 == 0, "for us alone"
    private = context.signer(settings).to_text().encode()
    client = redis.Redis.from_url(own_redis.url)
    stored = [(name, client.dump(name)) for name in client.scan_iter()]
    assert stored
    assert [name for name, value in stored if private in name + (value or b"")] == [], "no private key in Redis"


def run(*arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    return done.exit_code, json.loads(done.stdout)
