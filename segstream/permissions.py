"""Rights of processes as an administrator hands them out: printed, or granted by Kafka's own requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from schemas import rights
from schemas.rights import PROCESSES, Process, Right
from schemas.settings import Settings
from segstream import kafka
from segstream.outcome import Usage


def chosen(names: Sequence[str]) -> list[Process]:
    """The processes of these names, all where none is named. Raises Usage for others."""
    wrong = [name for name in names if name not in PROCESSES]
    if wrong:
        raise Usage(f"there is no process {wrong[0]!r}; there are {', '.join(PROCESSES)}")
    return [process for process in PROCESSES if not names or process in names]


def row(settings: Settings, process: Process, principal: str) -> dict[str, Any]:
    """What is printed of a process."""
    return {
        "process": process,
        "who": PROCESSES[process],
        "principal": principal,
        "kafka": rights.kafka_commands(process, principal, settings.app_id, settings.kafka),
        "redis": rights.redis_command(process, principal, settings.prefix),
    }


def bindings(right: Right, principal: str) -> list[AclBinding]:
    """A right as Kafka's ACLs."""
    return [
        AclBinding(
            ResourceType[right.resource.upper()],
            right.name,
            ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL,
            f"User:{principal}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for operation in right.operations
    ]


def apply(settings: Settings, principals: Mapping[Process, str]) -> None:
    """Grant every right of these processes to their users; may be run again. Raises KafkaException where Kafka refuses."""
    wanted = [
        binding
        for process, principal in principals.items()
        for right in rights.kafka_rights(process, settings.app_id)
        for binding in bindings(right, principal)
    ]
    client = kafka.admin(settings)  # what is asked ends with its client
    for future in client.create_acls(wanted, request_timeout=kafka.TIMEOUT).values():
        future.result()
