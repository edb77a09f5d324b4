"""What each process may do on Kafka and Redis, and nothing else: the table behind `segstream topics acls`, the startup checks and the docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from schemas import topics
from schemas.drift import standing_key
from schemas.membership import erased_key, sizes_key, touched_key, user_key
from schemas.registry import fence_key
from schemas.shadow import shadow_key
from schemas.vitals import vitals_key

Process = Literal["source", "worker", "trainer", "api", "destinations", "ops"]

PROCESSES: Final[dict[Process, str]] = {
    "source": "the shop's own systems, which send orders and sign-ups",
    "worker": "`segstream worker`",
    "trainer": "`segstream train --publish`, `segstream trainer watch`",
    "api": "`segstream serve`",
    "destinations": "`segstream destinations run`",
    "ops": "a person: `segstream topics`, `doctor`, `replay`, `verify`, `models`, `users`, `deadletters`, `destinations`, `audit`",
}
"""The processes, each with a user (principal) of its own."""


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on one topic or consumer group of Kafka; reading and writing include describing."""

    resource: Literal["topic", "group"]
    name: str
    operations: tuple[str, ...]
    """As Kafka spells them in upper case: READ, WRITE, CREATE, DESCRIBE, DESCRIBE_CONFIGS."""
    is_prefix: bool = False
    """Whether it holds for every name that begins so."""

    def __str__(self) -> str:
        """In words.

        >>> str(Right("topic", "orders", ("READ", "DESCRIBE_CONFIGS")))
        'read, describe configs: topic orders'
        """
        done = ", ".join(operation.lower().replace("_", " ") for operation in self.operations)
        return f"{done}: {self.resource} {self.name}{'*' if self.is_prefix else ''}"


def kafka_rights(process: Process, app_id: str = "segstream") -> tuple[Right, ...]:
    """The least that a process needs on Kafka.

    >>> [str(right) for right in kafka_rights("source")]
    ['write: topic orders', 'write: topic signups']
    """
    inputs = tuple(topic.name for topic in topics.INPUTS)
    letters = tuple(topics.dead_letter_topic(name) for name in inputs)
    match process:
        case "source":
            return _topics(inputs, "WRITE")
        case "worker":
            return (
                *_topics(inputs, "READ"),
                *_topics((topics.USERS.name,), "READ", "WRITE"),
                *_topics((topics.CHANGES.name, topics.STATE.name, *letters), "WRITE"),
                *_topics(
                    (topics.DRIFT_BLOCKS.name, topics.DRIFT_STATE.name, topics.DRIFT_ALERTS.name), "READ", "WRITE"
                ),
                *_topics((topics.MODEL_EVENTS.name,), "WRITE"),
                _group(app_id, "READ"),
                _group(f"{app_id}-drift", "READ"),
                _group(f"{app_id}-watchdog", "DESCRIBE"),
            )
        case "trainer":
            return (
                *_topics((topics.DRIFT_ALERTS.name,), "READ"),
                *_topics((topics.MODEL_EVENTS.name,), "WRITE"),
                _group(f"{app_id}-trainer", "DESCRIBE"),
            )
        case "api":
            return (
                *_topics((topics.CHANGES.name, topics.DRIFT_ALERTS.name, *letters), "READ"),
                *_topics((topics.MODEL_EVENTS.name, topics.AUDIT.name), "WRITE"),
                *_topics(inputs, "WRITE"),  # redriving dead letters, which needs the scope admin
                _group(app_id, "DESCRIBE"),
                _group(f"{app_id}-api", "DESCRIBE"),
                _group("segstream-reader", "DESCRIBE"),
                Right("group", f"{app_id}-redrive-", ("READ",), is_prefix=True),
            )
        case "destinations":
            return (
                *_topics((topics.CHANGES.name, topics.DRIFT_ALERTS.name), "READ"),
                *_topics((topics.DESTINATION_DLT.name,), "WRITE"),
                Right("group", f"{app_id}-destination-", ("READ",), is_prefix=True),
            )
        case "ops":
            every = tuple(topic.name for topic in topics.ALL)
            return (
                *_topics(every, "CREATE", "READ", "DESCRIBE_CONFIGS"),
                *_topics((topics.USERS.name, topics.STATE.name), "ALTER_CONFIGS"),
                *_topics((*inputs, topics.MODEL_EVENTS.name, topics.AUDIT.name), "WRITE"),
                _group(app_id, "DESCRIBE"),
                _group("segstream-reader", "DESCRIBE"),
                Right("group", f"{app_id}-redrive-", ("READ",), is_prefix=True),
                Right("group", f"{app_id}-destination-", ("READ",), is_prefix=True),
            )


@dataclass(frozen=True, slots=True)
class RedisRight:
    """What a Redis user may do: commands (as ACL SETUSER names them), keys it may write, keys it may read, channels."""

    commands: tuple[str, ...]
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    def rules(self) -> tuple[str, ...]:
        """The rules for ACL SETUSER, beginning with none.

        >>> RedisRight(("get",), reads=("a:*",)).rules()
        ('resetkeys', 'resetchannels', '-@all', '%R~a:*', '+get')
        """
        return (
            "resetkeys",
            "resetchannels",
            "-@all",
            *(f"~{key}" for key in self.writes),
            *(f"%R~{key}" for key in self.reads),
            *(f"&{name}" for name in self.channels),
            *(f"+{command}" for command in self.commands),
        )


_CONNECT: Final = ("ping", "select")
_SCRIPT: Final = ("evalsha", "script|load")
_SWITCH: Final = (
    *_SCRIPT, "get", "set", "del", "zadd", "zrange", "zrem", "zrevrange", "xadd", "xrevrange", "publish", "hget", "hmget", "hset", "hgetall",
)  # fmt: skip
"""The scripts of the registry, and reading it."""
_LOOP: Final = ("exists", "time", "hdel", "hvals")
"""The trainer's lock and its requests."""


def redis_rights(process: Process, prefix: str = "segstream:") -> RedisRight | None:
    """The least that a process needs on Redis; None where it needs none."""
    models, users = f"{prefix}model:*", user_key(prefix, "*")
    trainer, seen = f"{prefix}trainer:*", (shadow_key(prefix, "*"), vitals_key(prefix))
    hint = (f"{prefix}model:hint",)
    match process:
        case "worker":
            return RedisRight(
                (*_CONNECT, *_SCRIPT, "info", "get", "set", "hget", "hgetall", "hmget", "hset", "hdel", "hincrby", "del", "expire", "xadd",
                 "subscribe", "unsubscribe"),
                writes=(users, sizes_key(prefix), touched_key(prefix), f"{prefix}projected", standing_key(prefix), erased_key(prefix, "") + "*", *seen),
                reads=(models,),
                channels=hint,
            )  # fmt: skip
        case "trainer":
            return RedisRight((*_CONNECT, *_SWITCH, *_LOOP), writes=(models, trainer), reads=seen, channels=hint)
        case "api":
            return RedisRight(
                (*_CONNECT, *_SWITCH, "hdel", "hvals", "scan", "xread", "xinfo|stream", "subscribe", "unsubscribe"),
                writes=(models, fence_key(prefix), f"{prefix}segment:descriptions"),
                reads=(users, sizes_key(prefix), touched_key(prefix), standing_key(prefix), *seen),
                channels=hint,
            )
        case "ops":
            return RedisRight(
                (*_CONNECT, *_SWITCH, *_LOOP, "info"),
                writes=(models, trainer),
                reads=(users, sizes_key(prefix), standing_key(prefix), erased_key(prefix, "") + "*", *seen),
                channels=hint,
            )
        case "source" | "destinations":
            return None


def kafka_commands(process: Process, principal: str, app_id: str, bootstrap: str) -> list[str]:
    """The same as commands of Kafka's own tool, one for each right; `admin.properties` says who the administrator is."""
    return [
        " ".join(
            (
                f"kafka-acls.sh --bootstrap-server {bootstrap} --command-config admin.properties --add --allow-principal User:{principal}",
                *(f"--operation {_spelt(operation)}" for operation in right.operations),
                f"--{right.resource} {right.name}",
                *(("--resource-pattern-type prefixed",) if right.is_prefix else ()),
            )
        )
        for right in kafka_rights(process, app_id)
    ]


def redis_command(process: Process, principal: str, prefix: str) -> str | None:
    """The same as one line of redis-cli; its `>PASSWORD` is to be replaced."""
    right = redis_rights(process, prefix)
    return (
        None
        if right is None
        else f"ACL SETUSER {principal} reset on '>PASSWORD' {' '.join(map(_quoted, right.rules()))}"
    )


def table() -> str:
    """All of it as the Markdown table of docs/security.md."""
    lines = ["| user | is | Kafka | Redis |", "|---|---|---|---|"]
    for process, who in PROCESSES.items():
        rights = "<br>".join(f"`{right}`" for right in kafka_rights(process))
        redis = redis_rights(process)
        rules = f"`{' '.join(redis.rules()[3:])}`" if redis else "no access"
        lines.append(f"| segstream-{process} | {who} | {rights} | {rules} |")
    return "\n".join(lines)


def _topics(names: tuple[str, ...], *operations: str) -> tuple[Right, ...]:
    return tuple(Right("topic", name, operations) for name in names)


def _group(name: str, *operations: str) -> Right:
    return Right("group", name, operations)


def _spelt(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))


def _quoted(rule: str) -> str:
    return f"'{rule}'" if set(rule) & set("*&~|") else rule
