"""A secret is shown nowhere: not by settings, commands, clients or errors."""

from __future__ import annotations

import json
import re
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from schemas import connections
from schemas.settings import Settings
from segstream import configuration
from segstream.cli import app
from segstream.outcome import explain
from stream_app import assembly

ROOT = Path(__file__).parents[2]
PLANTED = "pl4nted-s3cret"
SECRETS = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
GIVEN = {
    **dict.fromkeys(SECRETS, PLANTED),
    "kafka_security": "sasl_ssl",
    "kafka_username": "worker",
    "redis": f"rediss://worker:{PLANTED}@127.0.0.1:1/0",
}


def test_whatever_sounds_like_a_secret_is_kept_as_one() -> None:
    assert {"signing_key", "kafka_password", "redis_password", "api_tokens"} <= set(SECRETS)
    sounds = re.compile("password|secret|token|private|signing")
    assert [name for name in Settings.model_fields if sounds.search(name) and name not in SECRETS] == []


def test_settings_and_clients_show_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, **GIVEN)  # type: ignore[arg-type]
    assert settings.redis_username == "worker"
    assert settings.redis_password.get_secret_value() == PLANTED, "it is there, it is only not shown"
    assert Settings(redis=f"redis://:{PLANTED}@host:1/2").redis == "redis://host:1/2"
    shown = [repr(settings), str(settings), settings.model_dump_json(), json.dumps(configuration.rows(settings))]
    shown += [repr(connections.redis_client(settings)), repr(connections.redis_async(settings).connection_pool)]
    shown += [repr(assembly.credentials(settings)), repr(connections.Heard(settings))]
    for name, value in GIVEN.items():
        monkeypatch.setenv(f"SEGSTREAM_{name.upper()}", value)
    for command in (
        ["config", "show"],
        ["config", "show", "--json"],
        ["config", "docs"],
    ):
        done = CliRunner().invoke(app, command)
        shown.append(done.output)
    assert [text for text in shown if PLANTED in text] == []


@pytest.mark.parametrize(
    "wrong", [{"partitions": "many"}, {"kafka_pasword": PLANTED}, {"kafka_cert": "c.pem"}, {"api_port": PLANTED}]
)
def test_wrong_settings_are_refused_without_showing_what_was_given(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**{**GIVEN, **wrong})  # type: ignore[arg-type]
    text = "".join(traceback.format_exception(refused.value)) + explain(refused.value)[2]
    assert PLANTED not in text
    assert next(iter(wrong)) in text, "it names the setting"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"kafka_security": "sasl_ssl"}, "needs kafka_username and kafka_password"),
        ({"kafka_username": "worker"}, "mean nothing with kafka_security=plaintext"),
        ({"kafka_security": "ssl", "kafka_cert": "c.pem"}, "kafka_cert and kafka_key belong together"),
        ({"redis_ca": "ca.pem"}, "rediss:// URL is meant"),
    ],
)
def test_half_a_security_is_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**given)  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_named() -> None:
    settings = Settings(
        kafka_security="ssl", kafka_ca="/nowhere/ca.pem", redis="rediss://h:1/0", redis_ca="/nowhere/ca.pem"
    )  # type: ignore[arg-type]
    for make in (connections.kafka, connections.kafka_tls, connections.redis_client):
        with pytest.raises(connections.Unusable, match=r"/nowhere/ca\.pem") as refused:
            make(settings)
        assert explain(refused.value)[0] == 2


def test_no_client_is_made_past_the_settings() -> None:
    """A client of its own making would forget TLS and who we are. The sandbox may: its servers are its own."""
    by_hand = re.compile(r"bootstrap\.servers|\bRedis\.from_url\(|\bRedis\(host|bootstrap_servers")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for room in ("schemas", "stream_app", "segment_api", "segstream", "batch_trainer", "destinations")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path != ROOT / "schemas" / "connections.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if by_hand.search(line)
    ]
    assert found == [], "make it by schemas.connections"


def test_every_secret_setting_has_no_default_that_is_one() -> None:
    settings = Settings()
    assert all(
        not value.get_secret_value() for name in SECRETS if isinstance(value := getattr(settings, name), SecretStr)
    )
