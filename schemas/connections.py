"""How each client reaches Kafka and Redis: security settings turned into its options, once, and a refusal into one line that says what to do."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any, Final

import redis
import redis.asyncio
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from schemas.settings import Settings

SOON: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError._WAIT_COORD,
)
"""A group of which nobody has asked yet, or a broker that has just started: ask again."""
MECHANISM: Final = "SCRAM-SHA-512"
_TRY: Final = 1.0
"""Seconds between looks at what the client has heard while no broker answers."""


class KafkaRefuses(RuntimeError):
    """Brokers are there and do not let us in (or we do not trust them): waiting does not help."""


class Unusable(ValueError):
    """A file that the settings name cannot be used."""


def kafka(settings: Settings, **more: Any) -> dict[str, Any]:
    """The options of a confluent-kafka client. Raises Unusable.

    >>> kafka(Settings(kafka="broker:9092"), acks="all")
    {'bootstrap.servers': 'broker:9092', 'acks': 'all'}
    """
    options: dict[str, Any] = {"bootstrap.servers": settings.kafka}
    if settings.kafka_security != "plaintext":
        options["security.protocol"] = settings.kafka_security.upper()
        if settings.kafka_ca is not None:
            options["ssl.ca.location"] = _file("SEGSTREAM_KAFKA_CA", settings.kafka_ca)
        if settings.kafka_cert is not None and settings.kafka_key is not None:
            options["ssl.certificate.location"] = _file("SEGSTREAM_KAFKA_CERT", settings.kafka_cert)
            options["ssl.key.location"] = _file("SEGSTREAM_KAFKA_KEY", settings.kafka_key)
    if settings.kafka_security == "sasl_ssl":
        options["sasl.mechanism"] = MECHANISM
        options["sasl.username"] = settings.kafka_username
        options["sasl.password"] = settings.kafka_password.get_secret_value()
    return options | more


def kafka_tls(settings: Settings) -> ssl.SSLContext:
    """The same for clients that take Python's TLS. Raises Unusable."""
    ca = None if settings.kafka_ca is None else _file("SEGSTREAM_KAFKA_CA", settings.kafka_ca)
    try:
        context = ssl.create_default_context(cafile=ca)
        if settings.kafka_cert is not None:
            context.load_cert_chain(settings.kafka_cert, settings.kafka_key)
    except (ssl.SSLError, OSError) as error:
        raise Unusable(f"the certificates for Kafka cannot be used: {error}") from error
    return context


def kafka_async(settings: Settings) -> dict[str, Any]:
    """The options of an aiokafka client. Raises Unusable."""
    options: dict[str, Any] = {"bootstrap_servers": [server.strip() for server in settings.kafka.split(",")]}
    if settings.kafka_security != "plaintext":
        options |= {"security_protocol": settings.kafka_security.upper(), "ssl_context": kafka_tls(settings)}
    if settings.kafka_security == "sasl_ssl":
        options |= {
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return options


def _is_soon(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in SOON


patiently: Final = retry(
    retry=retry_if_exception(_is_soon), stop=stop_after_delay(30.0), wait=wait_fixed(0.1), reraise=True
)
"""Decorates what asks a group's coordinator, which may have to be found first."""


class Heard:
    """What a client's brokers have refused: kept, because the calls themselves only time out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._refusal = ""

    def __call__(self, error: KafkaError) -> None:
        """Called by the client."""
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            self._refusal = self._explain(error)

    def check(self) -> None:
        """Raises KafkaRefuses where we were refused."""
        if self._refusal:
            raise KafkaRefuses(self._refusal)

    def _explain(self, error: KafkaError) -> str:
        s, text = self._settings, error.str()
        if error.code() == KafkaError._AUTHENTICATION:
            return (
                f"Kafka at {s.kafka} refuses {s.kafka_username or 'us'}: SEGSTREAM_KAFKA_USERNAME or SEGSTREAM_KAFKA_PASSWORD is wrong, "
                f"or the user has no {MECHANISM} credentials there (docs/security.md) ({text})"
            )
        if "verify" in text or "certificate" in text:
            ca = s.kafka_ca or "the system's authorities"
            return (
                f"the certificate of Kafka at {s.kafka} is not signed by {ca}, or for another name: "
                f"set SEGSTREAM_KAFKA_CA to the authority that signed it ({text})"
            )
        return f"Kafka at {s.kafka} does not speak TLS as we do; is SEGSTREAM_KAFKA_SECURITY={s.kafka_security} right for this port? ({text})"


def cluster(settings: Settings, timeout: float) -> tuple[AdminClient, ClusterMetadata]:
    """An admin client of a cluster that answers, and its topics.

    Raises KafkaRefuses, or KafkaException when no broker answers within `timeout` seconds.
    """
    heard = Heard(settings)
    client = AdminClient(kafka(settings, log_level=0, error_cb=heard))
    until = time.monotonic() + timeout
    while True:
        try:
            return client, client.list_topics(timeout=max(0.1, min(_TRY, until - time.monotonic())))
        except KafkaException:
            client.poll(0)
            heard.check()
            if time.monotonic() >= until:
                raise


def redis_client(
    settings: Settings, *, timeout: float = 5.0, connect: float | None = None, patient: bool = True
) -> redis.Redis:
    """A client of Redis, or of Valkey; without patience it does not try again. Raises Unusable."""
    more: dict[str, Any] = {} if patient else {"retry": Retry(NoBackoff(), 0)}
    return redis.Redis.from_url(settings.redis, **_redis(settings, timeout, connect), **more)


def redis_async(settings: Settings, *, timeout: float = 5.0, patient: bool = True) -> redis.asyncio.Redis:
    """The same for an event loop."""
    more: dict[str, Any] = {} if patient else {"retry": AsyncRetry(NoBackoff(), 0)}
    return redis.asyncio.Redis.from_url(settings.redis, **_redis(settings, timeout, None), **more)


def refusal(error: redis.RedisError) -> str:
    """What to do where Redis answers and does not let us in; empty for other errors.

    >>> refusal(redis.ConnectionError("Connection refused"))
    ''
    """
    if isinstance(error, redis.exceptions.NoPermissionError):
        return f"Redis does not permit it: give our user its rights, `segstream topics acls` prints them ({error})"
    if isinstance(error, redis.AuthenticationError):
        return (
            f"Redis refuses our name or password: see SEGSTREAM_REDIS_USERNAME and SEGSTREAM_REDIS_PASSWORD ({error})"
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"the certificate of Redis is not signed by an authority we trust: set SEGSTREAM_REDIS_CA to the one that signed it ({error})"
    if "SSL" in str(error):
        return f"Redis does not speak TLS there: is it rediss:// that SEGSTREAM_REDIS should say? ({error})"
    return ""


def _redis(settings: Settings, timeout: float, connect: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": connect or timeout}
    if settings.redis_username:
        options["username"] = settings.redis_username
    if password := settings.redis_password.get_secret_value():
        options["password"] = password
    if settings.redis_ca is not None:
        options["ssl_ca_certs"] = _file("SEGSTREAM_REDIS_CA", settings.redis_ca)
    if settings.redis_cert is not None and settings.redis_key is not None:
        options["ssl_certfile"] = _file("SEGSTREAM_REDIS_CERT", settings.redis_cert)
        options["ssl_keyfile"] = _file("SEGSTREAM_REDIS_KEY", settings.redis_key)
    return options


def _file(setting: str, path: Path) -> str:
    if not path.is_file():
        raise Unusable(f"{setting} names {path}, which is no file that can be read here")
    return str(path)
