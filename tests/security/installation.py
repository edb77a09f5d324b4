"""An installation whose servers let nobody in by chance, and where every process has a user of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from sandbox.redis import Redis
from sandbox.secured import ADMIN, SecuredKafka, SecuredRedis
from schemas import connections, rights
from schemas.rights import PROCESSES, Process
from schemas.settings import Settings
from segstream import permissions
from tests.installation import Installation
from tests.security.terminator import Terminator


@dataclass
class Fortress:
    """The servers, their administrator, and the password of each process: the same for both servers."""

    directory: Path
    kafka: SecuredKafka
    redis_url: str
    redis_ca: Path
    redis_password: str
    passwords: dict[Process, str] = field(
        default_factory=lambda: {name: secrets.token_urlsafe(18) for name in PROCESSES}
    )

    def environment(self, process: Process | None) -> dict[str, str]:
        """The settings of a process; of the administrator for None."""
        user = f"segstream-{process}" if process else ADMIN
        found = {
            "SEGSTREAM_KAFKA": self.kafka.bootstrap,
            "SEGSTREAM_KAFKA_SECURITY": "sasl_ssl",
            "SEGSTREAM_KAFKA_CA": str(self.kafka.certificates.authority),
            "SEGSTREAM_KAFKA_USERNAME": user,
            "SEGSTREAM_KAFKA_PASSWORD": self.passwords[process] if process else self.kafka.password,
            "SEGSTREAM_REDIS": self.redis_url,
            "SEGSTREAM_REDIS_USERNAME": user,
            "SEGSTREAM_REDIS_PASSWORD": self.passwords[process] if process else self.redis_password,
            "SEGSTREAM_HOME": str(self.directory / "home"),
            "SEGSTREAM_SESSION_TIMEOUT": "6",
        }
        if self.redis_url.startswith("rediss"):
            found["SEGSTREAM_REDIS_CA"] = str(self.redis_ca)
        return found

    def settings(self, process: Process | None, **more: Any) -> Settings:
        """The same as settings."""
        named = {name.removeprefix("SEGSTREAM_").lower(): value for name, value in self.environment(process).items()}
        return Settings(**{**named, **more})  # type: ignore[arg-type]

    def admin(self) -> AdminClient:
        """Kafka's administrator."""
        return AdminClient(connections.kafka(self.settings(None), log_level=0))

    def let_in(self) -> None:
        """Make every user, with the rights of the table and no other."""
        made = [
            UserScramCredentialUpsertion(
                f"segstream-{process}", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
            )
            for process, password in self.passwords.items()
        ]
        admin = self.admin()  # what is asked ends with its client
        for future in admin.alter_user_scram_credentials(made).values():
            future.result()
        permissions.apply(self.settings(None), {process: f"segstream-{process}" for process in PROCESSES})
        client = connections.redis_client(self.settings(None))
        for process, password in self.passwords.items():
            if (right := rights.redis_rights(process)) is not None:
                client.execute_command(
                    "ACL", "SETUSER", f"segstream-{process}", "reset", "on", f">{password}", *right.rules()
                )


class LockedRedis(Redis):
    """The sandbox's Redis with a password for its administrator; TLS stands before it."""

    def __init__(self, directory: Path, password: str) -> None:
        super().__init__(directory)
        self.password = password

    def answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, username=ADMIN, password=self.password, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _command(self) -> list[str]:
        users = self.directory / "users.acl"
        users.write_text(f"user default off\nuser {ADMIN} on >{self.password} ~* &* +@all\n")
        return [*super()._command(), "--aclfile", str(users)]


@dataclass
class Guarded(Installation):
    """An installation in the fortress: commands run as `ops`, workers as `worker`."""

    fortress: Fortress = field(kw_only=True)

    @property
    def settings(self) -> Settings:
        return self.fortress.settings("ops")


__all__ = ["Fortress", "Guarded", "LockedRedis", "SecuredRedis", "Terminator"]
