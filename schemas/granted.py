"""Which of its rights a process really has on this cluster, as the brokers tell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from schemas.rights import Process, Right, kafka_rights
from schemas.settings import Settings

_ASK: Final = 5.0
_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class Forbidden(RuntimeError):
    """Kafka does not permit what this process needs."""


def is_refusal(error: KafkaException) -> bool:
    """Whether a broker has answered, and the answer was that we may not."""
    return error.args[0].code() in _FORBIDDEN


def check(client: AdminClient, settings: Settings, process: Process) -> None:
    """Raises Forbidden, which names every right that lacks; one that cannot be asked for now is taken to be there.

    Not to be asked again and again while brokers go and come: it ends the process as schemas.groups tells.
    """
    if settings.kafka_security == "plaintext":
        return
    lacking = missing(client, kafka_rights(process, settings.app_id))
    if lacking:
        raise Forbidden(
            f"Kafka does not permit {settings.kafka_username or 'this user'} what the {process} needs ({'; '.join(map(str, lacking))}): "
            f"an administrator grants it by `segstream topics acls {process}`"
        )


def missing(client: AdminClient, rights: Iterable[Right]) -> list[Right]:
    """Those of the rights that the client's user does not have."""
    wanted = [right for right in rights if not right.is_prefix]
    names = sorted({right.name for right in wanted if right.resource == "topic"})
    groups = sorted({right.name for right in wanted if right.resource == "group"})
    asked: dict[tuple[str, str], Any] = {}
    if names:
        answer = client.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=_ASK
        )
        asked |= {("topic", name): future for name, future in answer.items()}
    if groups:
        answer = client.describe_consumer_groups(groups, include_authorized_operations=True, request_timeout=_ASK)
        asked |= {("group", name): future for name, future in answer.items()}
    granted = {place: _operations(future) for place, future in asked.items()}
    found = []
    for right in wanted:
        known = granted[right.resource, right.name]
        lacks = () if known is None else tuple(op for op in right.operations if op not in known)
        if lacks:
            found.append(Right(right.resource, right.name, lacks))
    return found


def hidden(client: AdminClient, names: Iterable[str]) -> list[str]:
    """Those of the topics of which we may not even know whether they are there."""
    return [
        name
        for name in names
        if (error := client.list_topics(name, timeout=_ASK).topics[name].error) is not None
        and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    ]


def _operations(future: Any) -> frozenset[str] | None:
    """What is granted; None where that is not known: it is not there yet, or its coordinator is still sought."""
    try:
        described = future.result()
    except KafkaException as error:
        return frozenset() if is_refusal(error) else None
    if described.authorized_operations is None:
        return None
    return frozenset(operation.name for operation in described.authorized_operations)
