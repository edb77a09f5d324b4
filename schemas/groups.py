"""Who is in a consumer group, asked without ending the process where a broker goes away meanwhile.

librdkafka's newer requests about groups do that (`eonce->refcnt > 0`, its issue 4605); the older one, which it calls deprecated, does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

_UUID: Final = 37
"""Kafka makes a member's id of a name, a dash and a UUID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of a group."""

    id: str
    name: str
    """A static member's own; of another its id."""
    host: str
    partitions: Mapping[str, tuple[int, ...]]
    """What it was given, by topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A consumer group as its coordinator sees it."""

    state: str
    """Stable, Empty, PreparingRebalance, CompletingRebalance or Dead; Dead too where there is none of that name."""
    members: tuple[Member, ...] = ()


def group(client: AdminClient, name: str, timeout: float) -> Group:
    """A consumer group. Raises KafkaException when Kafka does not answer within `timeout` seconds, or refuses."""
    listed: Sequence[Any] = client.list_groups(name, timeout=timeout)
    for found in listed:
        if found.error is not None:
            raise KafkaException(found.error)
        members = [
            Member(
                id=one.id,
                name=_name(one.id, one.client_id),
                host=one.client_host.lstrip("/"),
                partitions=_partitions(one.assignment),
            )
            for one in found.members
        ]
        return Group(state=found.state, members=tuple(members))
    return Group(state="Dead")


def _name(member_id: str, client_id: str) -> str:
    """What a static member calls itself.

    >>> uuid = "6e5b9d5c-8a4e-4c52-8a0e-0d5d4f1f5a11"
    >>> _name(f"worker-a-{uuid}", "faust") , _name(f"faust-{uuid}", "faust")
    ('worker-a', 'faust-6e5b9d5c-8a4e-4c52-8a0e-0d5d4f1f5a11')
    """
    own = member_id[:-_UUID]
    return own if own and own != client_id else member_id


def _partitions(assignment: bytes) -> dict[str, tuple[int, ...]]:
    """By topic; none while the group is being balanced."""
    if not assignment:
        return {}
    given = ConsumerProtocolMemberAssignment.decode(assignment).assignment
    return {topic: tuple(partitions) for topic, partitions in given}
