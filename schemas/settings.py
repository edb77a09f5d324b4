"""Every setting of Segstream, once: environment variables `SEGSTREAM_*`, then `segstream.toml`, then these defaults."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from schemas.times import DAY, to_micros


class Settings(BaseSettings):
    """The settings; unknown names in `segstream.toml` are refused, so that a typing error cannot go unnoticed."""

    model_config = SettingsConfigDict(
        env_prefix="SEGSTREAM_",
        toml_file="segstream.toml",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # what was given may be a secret under a misspelt name
    )

    home: Path = Field(Path(".segstream"), description="Where the sandbox, signing keys and caches live.")
    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port].")
    kafka_security: Literal["plaintext", "ssl", "sasl_ssl"] = Field(
        "plaintext",
        description="How Kafka is spoken to: plaintext, ssl (TLS, a client certificate tells who we are) or sasl_ssl (TLS, and a "
        "name and password by SCRAM-SHA-512).",
    )
    kafka_username: str = Field("", description="Who we are to Kafka, with sasl_ssl.")
    kafka_password: SecretStr = Field(SecretStr(""), description="The password of kafka_username.")
    kafka_ca: Path | None = Field(
        None, description="PEM file of the authorities that sign the brokers' certificates. Unset: the system's."
    )
    kafka_cert: Path | None = Field(None, description="PEM file of our certificate, where the brokers ask for one.")
    kafka_key: Path | None = Field(None, description="PEM file of the private key of kafka_cert.")
    redis: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis URL (redis://, or rediss:// for TLS). A name and password in it are taken as redis_username and redis_password.",
    )
    redis_username: str = Field("", description="Who we are to Redis. Unset: its default user.")
    redis_password: SecretStr = Field(SecretStr(""), description="The password of redis_username.")
    redis_ca: Path | None = Field(
        None, description="PEM file of the authorities that sign Redis' certificate. Unset: the system's."
    )
    redis_cert: Path | None = Field(None, description="PEM file of our certificate, where Redis asks for one.")
    redis_key: Path | None = Field(None, description="PEM file of the private key of redis_cert.")
    prefix: str = Field(
        "segstream:", description="Prefix of every Redis key; separates installations that share a server."
    )
    app_id: str = Field("segstream", description="Consumer group of the workers and prefix of their changelog topic.")
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of the topics that are keyed by customer.")
    replication: int = Field(1, ge=1, le=10, description="Replication factor of created topics; 3 in production.")
    signing_key: SecretStr | None = Field(
        None, description="The trainer's private Ed25519 key (base64). Unset: the key file in home, made on first use."
    )
    trusted_keys: str = Field(
        "",
        description="Public keys (base64, comma-separated) whose models are accepted. Unset: the public key file in home.",
    )
    producer_max_batch_size: int = Field(
        262_144,
        ge=1,
        description="Bytes per produced batch; 1 sends records one by one (needed by the pip-only broker).",
    )
    commit_interval: float = Field(1.0, gt=0, le=60, description="Seconds between commits of source offsets.")
    session_timeout: float = Field(
        10.0, ge=1, le=300, description="Seconds after which Kafka takes a silent worker for dead."
    )
    stall_timeout: float = Field(
        60.0,
        ge=2,
        le=3600,
        description="Seconds without progress, though there is something to do and Kafka answers, after which a worker ends "
        "itself (70) to be started again.",
    )
    standby_replicas: int = Field(
        0, ge=0, le=10, description="Workers that keep a warm copy of another's customers, for fast failover."
    )
    store: Literal["memory", "rocksdb"] = Field(
        "memory",
        description="Where a worker keeps its customers: in memory, or in RocksDB under home for more than memory holds "
        "(needs the extra `rocksdb` and an instance_id).",
    )
    startup_timeout: float = Field(
        60.0, gt=0, description="Seconds a starting worker waits for Kafka before it gives up."
    )
    instance_id: str = Field(
        "",
        description="Static group membership: a name per worker that stays over restarts. Unset: dynamic membership.",
    )
    worker_host: str = Field("127.0.0.1", description="Address of the worker's /health, /ready and /metrics.")
    worker_port: int = Field(
        0, ge=0, le=65535, description="Port of the worker's /health, /ready and /metrics; 0 takes a free one."
    )
    api_host: str = Field("127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(8080, ge=0, le=65535, description="Port of the API and of the dashboard.")
    api_tokens: SecretStr = Field(
        SecretStr(""),
        description="Who may use the API: name:scope+scope:sha256, comma-separated (`segstream tokens new` makes one). "
        "Unset: this very machine only, without tokens.",
    )
    api_rate: float = Field(1000.0, ge=0, description="Requests per second that one caller may make; 0: any number.")
    api_changes: int = Field(
        1_000_000, ge=1000, description="Latest changes the API keeps on disk for time lines (about 0.7 kB each)."
    )
    destinations: Path = Field(
        Path("destinations.toml"),
        description="The file that lists who is told of changes and alerts, for `segstream destinations`.",
    )
    destinations_host: str = Field(
        "127.0.0.1", description="Address of the destinations' /health, /ready and /metrics."
    )
    destinations_port: int = Field(
        0, ge=0, le=65535, description="Port of the destinations' /health, /ready and /metrics; 0 takes a free one."
    )
    api_trees_from: int = Field(
        1_000_000,
        ge=0,
        description="From so many customers on, the API looks for neighbours by trees instead of one by one; as exact, and faster.",
    )
    model_poll: float = Field(
        2.0, gt=0, le=60, description="Seconds between looks at the active model (a publish also gives a hint)."
    )
    projection_interval: float = Field(
        0.02, gt=0, le=60, description="Seconds between writes of changed customers to Redis."
    )
    as_of: datetime | None = Field(
        None,
        description="The moment that days since an order are counted to (RFC 3339), for shops whose history has ended. Unset: now.",
    )
    drift_cooldown: float = Field(
        3600.0, ge=0, description="Seconds of event time in which a drift signal alerts once."
    )
    erasure_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="Days in which events of an erased customer are ignored; then she may be new again.",
    )
    audit_key: SecretStr | None = Field(
        None,
        description="Secret under which customers' ids are hashed in the audit topic; the same for everyone who looks there. "
        "Unset: the key file in home, made on first use.",
    )
    trainer_min_gap: float = Field(
        86_400.0, ge=0, description="Seconds between the starts of two trainings of `trainer watch`; by hand at once."
    )
    trainer_max_age: float = Field(
        2_592_000.0, ge=0, description="Seconds after which `trainer watch` trains because the model is old; 0: never."
    )
    trainer_schedule: float = Field(
        0.0, ge=0, description="Seconds between trainings that `trainer watch` makes in any case; 0: only for a reason."
    )
    trainer_waived_gates: str = Field(
        "",
        description="Gates (comma-separated) that do not keep a training of `trainer watch` from becoming a candidate, e.g. moved_share: "
        "live customers judge then.",
    )
    shadow_one_in: int = Field(
        4, ge=1, description="A candidate is tried on one in so many customers, always the same ones."
    )
    shadow_rate: float = Field(
        100.0, gt=0, description="Customers per second and worker that a candidate is tried on, at most."
    )
    shadow_sample: int = Field(500, ge=1, description="Customers that must be seen before a candidate is judged.")
    shadow_seconds: float = Field(600.0, ge=0, description="Seconds that a candidate is tried for, at least.")
    shadow_timeout: float = Field(
        21_600.0, gt=0, description="Seconds after which a candidate that too few customers were seen for is refused."
    )
    shadow_max_moved: float = Field(
        0.25, ge=0, le=1, description="Share of the live customers who may change segment by a candidate."
    )
    shadow_worse_distance: float = Field(
        0.25,
        ge=0,
        description="How much farther live customers may lie from what a candidate learnt than from what the active model learnt, "
        "standard deviations of the log distance.",
    )
    rollback_within: float = Field(
        900.0, ge=0, description="Seconds after an activation by `trainer watch` in which worse health rolls it back."
    )
    rollback_unready: float = Field(60.0, ge=0, description="Seconds that a worker may be not ready in that time.")
    rollback_dead_letters: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of the events that may become dead letters in that time, beyond the share before.",
    )
    rollback_changes: float = Field(
        3.0,
        ge=1,
        description="How many times as often as before customers may change segment by what they do in that time.",
    )
    log_format: Literal["json", "console"] = Field("json", description="Structured logs as JSON lines, or for people.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe level that is logged."
    )

    @model_validator(mode="before")
    @classmethod
    def _no_secret_in_the_url(cls, given: Any) -> Any:
        """Name and password out of the URL into settings of their own, where they are masked."""
        if not isinstance(given, dict) or "@" not in str(given.get("redis", "")):
            return given
        scheme, _, rest = str(given["redis"]).partition("://")
        authority, slash, path = rest.partition("/")
        user, _, host = authority.rpartition("@")
        name, _, password = user.partition(":")
        found = {"redis_username": unquote(name), "redis_password": unquote(password)}
        return {**{k: v for k, v in found.items() if v}, **given, "redis": f"{scheme}://{host}{slash}{path}"}

    @model_validator(mode="after")
    def _what_belongs_together(self) -> Settings:
        if self.kafka_security == "sasl_ssl" and not (self.kafka_username and self.kafka_password.get_secret_value()):
            raise ValueError("kafka_security=sasl_ssl needs kafka_username and kafka_password")
        if self.kafka_security == "plaintext" and (self.kafka_username or self.kafka_ca or self.kafka_cert):
            raise ValueError(
                "kafka_username, kafka_ca and kafka_cert mean nothing with kafka_security=plaintext; sasl_ssl (or ssl) is meant?"
            )
        for one, other in (("kafka_cert", "kafka_key"), ("redis_cert", "redis_key")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} belong together")
        if (self.redis_ca or self.redis_cert) and urlsplit(self.redis).scheme != "rediss":
            raise ValueError("redis_ca and redis_cert mean nothing without TLS; a rediss:// URL is meant?")
        return self

    def day(self, now: int) -> int:
        """The day that recency is counted to (UTC, counted from 1970); `now` in microseconds."""
        return (now if self.as_of is None else to_micros(self.as_of)) // DAY

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over `segstream.toml`."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
