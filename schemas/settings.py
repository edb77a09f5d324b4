"""Every setting of Segstream, once: environment variables `SEGSTREAM_*`, then `segstream.toml`, then these defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource


class Settings(BaseSettings):
    """The settings; unknown names in `segstream.toml` are refused, so that a typing error cannot go unnoticed."""

    model_config = SettingsConfigDict(env_prefix="SEGSTREAM_", toml_file="segstream.toml", extra="forbid", frozen=True)

    home: Path = Field(Path(".segstream"), description="Where the sandbox, signing keys and caches live.")
    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port].")
    redis: str = Field("redis://127.0.0.1:6379/0", description="Redis URL (redis:// or rediss://).")
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
    model_poll: float = Field(
        2.0, gt=0, le=60, description="Seconds between looks at the active model (a publish also gives a hint)."
    )
    projection_interval: float = Field(
        0.2, gt=0, le=60, description="Seconds between writes of changed customers to Redis."
    )
    drift_cooldown: float = Field(
        3600.0, ge=0, description="Seconds of event time in which a drift signal alerts once."
    )
    log_format: Literal["json", "console"] = Field("json", description="Structured logs as JSON lines, or for people.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe level that is logged."
    )

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
