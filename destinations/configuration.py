"""What a destination is: the file that lists them, checked before anything is sent."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta

from destinations.addresses import refusal_of_literal
from destinations.signature import BadSecret, key_of
from schemas.changes import Cause, DriftAlert

Wants = Literal["segment-changes", "drift-alerts"]
Format = Literal["segstream", "slack", "alertmanager"]
LEVELS: Final[tuple[str, ...]] = get_args(get_type_hints(DriftAlert)["level"])


class BadDestinations(ValueError):
    """The file of destinations cannot be used: the message says where and what would do. Nothing is sent."""


class Segments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which moves are wanted, by the segments' ids; both empty: all of them."""

    entered: Annotated[tuple[str, ...], Meta(description="Changes into one of these segments (ids).")] = ()
    left: Annotated[tuple[str, ...], Meta(description="Changes out of one of these segments (ids).")] = ()


class Destination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One receiver: where it is, what it wants, and how it is spoken to. Secrets are named here, never written."""

    name: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9][a-z0-9-]{0,39}$",
            description="Its name: lower case letters, digits, hyphens. Also names the consumer group, so that a new name starts anew.",
        ),
    ]
    wants: Annotated[Wants, Meta(description="`segment-changes` or `drift-alerts`.")]
    url: Annotated[str, Meta(description="Where it listens. `https://`; `http://` only with `allow_private`.")] = ""
    url_env: Annotated[
        str, Meta(description="Environment variable that holds the URL, where the URL is a secret (Slack).")
    ] = ""
    secret_env: Annotated[
        tuple[str, ...],
        Meta(
            description="Environment variables that hold the signing secrets (`whsec_...`, from `segstream destinations secret`): "
            "one, or two while they are exchanged. Needed by format `segstream`."
        ),
    ] = ()
    bearer_env: Annotated[
        str, Meta(description="Environment variable that holds a token, sent as `Authorization: Bearer`.")
    ] = ""
    format: Annotated[
        Format,
        Meta(
            description="`segstream` (CloudEvents, a batch), `slack` (text), `alertmanager` (its v2 API; alerts only)."
        ),
    ] = "segstream"
    segments: Annotated[
        Segments,
        Meta(
            description="`segments.entered` and `segments.left`: lists of segment ids; a change that fits either is sent. Both empty: every change."
        ),
    ] = Segments()
    causes: Annotated[
        tuple[Cause, ...],
        Meta(description="Changes with one of these causes. `model` and `bootstrap` only where you ask for them."),
    ] = ("behaviour", "time", "correction")
    levels: Annotated[tuple[str, ...], Meta(description="Alerts of one of these levels.")] = LEVELS
    start: Annotated[
        Literal["now", "beginning"],
        Meta(description="Where a new destination starts: with what comes from now on, or with all that Kafka holds."),
    ] = "now"
    batch: Annotated[int, Meta(ge=1, le=1000, description="Events in one request, at most.")] = 100
    wait: Annotated[float, Meta(ge=0, le=60, description="Seconds that an event waits for others to go with it.")] = 1.0
    timeout: Annotated[
        float, Meta(gt=0, le=120, description="Seconds for one attempt, from the connection to the end of the answer.")
    ] = 10.0
    retry_attempts: Annotated[
        int, Meta(ge=1, le=100_000, description="Attempts before a batch becomes dead letters.")
    ] = 500
    retry_for: Annotated[
        float, Meta(ge=0, le=14 * 86_400, description="Seconds of attempts before a batch becomes dead letters.")
    ] = 86_400.0
    retry_wait: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds before the second attempt; doubled each time, with jitter.")
    ] = 1.0
    retry_wait_max: Annotated[
        float,
        Meta(gt=0, le=86_400, description="The longest pause, seconds; a receiver's `Retry-After` is heeded up to it."),
    ] = 300.0
    allow_private: Annotated[
        bool, Meta(description="Allow addresses of private networks and of this machine, and plain `http://`.")
    ] = False
    ca_file: Annotated[
        str,
        Meta(description="PEM file of the authority that signed the receiver's certificate. Unset: the usual ones."),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a destination's requests go, secrets included: none of them is shown by `repr`."""

    url: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False, default=())
    bearer: str = field(repr=False, default="")

    @property
    def host(self) -> str:
        """Scheme, host and port: what may be shown, because the path may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    destination: tuple[Destination, ...] = ()


def parse(text: str) -> tuple[Destination, ...]:
    """The destinations of a file's text. Raises BadDestinations.

    >>> parse('[[destination]]\\nname = "ops"\\nwants = "drift-alerts"\\nurl = "https://ops.example.com/"\\nformat = "slack"')[0].name
    'ops'
    """
    try:
        found = msgspec.convert(tomllib.loads(text), _File).destination
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadDestinations(str(error)) from error
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise BadDestinations(f"two destinations are called {name!r}: each needs a name of its own")
    for one in found:
        _check(one)
    return found


def load(path: Path) -> tuple[Destination, ...]:
    """The destinations of a file. Raises BadDestinations."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadDestinations(f"{path} cannot be read ({error}); SEGSTREAM_DESTINATIONS names the file") from error
    try:
        return parse(text)
    except BadDestinations as error:
        raise BadDestinations(f"{path}: {error}") from error


def target(one: Destination, environ: Mapping[str, str]) -> Target:
    """A destination's address and secrets, from the environment. Raises BadDestinations, which names variables, never values."""
    keys = []
    for name in one.secret_env:
        try:
            keys.append(key_of(_variable(one, "secret_env", name, environ)))
        except BadSecret as error:
            raise BadDestinations(f"destination {one.name}: {name} (secret_env) holds no secret: {error}") from None
    url = one.url or _variable(one, "url_env", one.url_env, environ)
    _check_url(one, url)
    bearer = _variable(one, "bearer_env", one.bearer_env, environ) if one.bearer_env else ""
    if not (bearer.isascii() and bearer.isprintable()):
        raise BadDestinations(f"destination {one.name}: {one.bearer_env} (bearer_env) holds what is no header's value")
    if one.ca_file and not Path(one.ca_file).is_file():
        raise BadDestinations(f"destination {one.name}: ca_file {one.ca_file} is no file")
    return Target(url=url, keys=tuple(keys), bearer=bearer)


def settings_table() -> str:
    """Every setting of a destination as a Markdown table, from their own descriptions."""
    lines = ["| Setting | Default | Meaning |", "|---|---|---|"]
    hints = get_type_hints(Destination, include_extras=True)
    for item in msgspec.structs.fields(Destination):
        meaning = next(m.description for m in hints[item.name].__metadata__ if isinstance(m, Meta))
        lines.append(f"| `{item.name}` | {_shown(item)} | {meaning} |")
    return "\n".join(lines)


def _shown(item: Any) -> str:
    if item.required:
        return "needed"
    if isinstance(item.default, tuple):
        return ", ".join(f"`{value}`" for value in item.default)
    if isinstance(item.default, Segments) or item.default == "":
        return ""
    return f"`{str(item.default).lower() if isinstance(item.default, bool) else item.default}`"


def _variable(one: Destination, setting: str, name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise BadDestinations(f"destination {one.name}: the environment variable {name} ({setting}) is not set")
    return value


def _check(one: Destination) -> None:
    def wrong(what: str) -> BadDestinations:
        return BadDestinations(f"destination {one.name}: {what}")

    if bool(one.url) == bool(one.url_env):
        raise wrong("needs either url or url_env")
    if one.url:
        _check_url(one, one.url)
    if one.format == "alertmanager" and one.wants != "drift-alerts":
        raise wrong("format alertmanager takes drift-alerts, not segment-changes")
    if one.format == "segstream" and not one.secret_env:
        raise wrong("format segstream is signed: it needs secret_env (`segstream destinations secret` makes one)")
    if one.wants != "drift-alerts" and one.levels != LEVELS:
        raise wrong("levels are of drift-alerts")
    if one.wants != "segment-changes" and one.segments != Segments():
        raise wrong("segments are of segment-changes")
    if one.format == "slack" and one.batch > 100:
        raise wrong("a message in Slack holds at most 100 events: batch must not be more")
    if not one.causes or not one.levels:
        raise wrong("without causes or levels it would get nothing")
    if unknown := [level for level in one.levels if level not in LEVELS]:
        raise wrong(f"level {unknown[0]!r} does not exist; there are {', '.join(LEVELS)}")


def _check_url(one: Destination, url: str) -> None:
    """Raises BadDestinations, without the URL: its path may be a secret."""

    def wrong(what: str) -> BadDestinations:
        return BadDestinations(f"destination {one.name}: {what}")

    parts = _split(url)
    if parts is None or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
        raise wrong("its URL cannot be read; expected https://host[:port]/path, in ASCII")
    if parts.scheme != "https" and not (parts.scheme == "http" and one.allow_private):
        raise wrong("its URL must be https:// (http:// only with allow_private = true)")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise wrong("its URL must have neither user, password nor fragment; a token goes by bearer_env")
    if reason := refusal_of_literal(parts.hostname, one.allow_private):
        raise wrong(f"its address is refused: {reason}")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
