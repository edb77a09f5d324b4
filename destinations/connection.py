"""Connections that are made to checked addresses only, and requests that end in time whatever the receiver does.

httpcore is used without httpx, because its network backend is public there: it is where a name becomes an address. It follows no
redirects, keeps no cookies and reads no proxy from the environment.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpcore

from destinations.addresses import refusal

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer's body that are read, and thrown away, so that the connection can be used again."""
_SLICE: Final = 16 * 1024

Resolve = Callable[[str, int], list[str]]
"""Host and port -> addresses as numbers. Raises OSError."""


class AddressRefused(Exception):
    """A name has led to an address that no connection may be made to. None was made."""


def resolve(host: str, port: int) -> list[str]:
    """The system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


def checked(host: str, port: int, resolver: Resolve, allow_private: bool) -> list[str]:
    """The addresses of a host, each of which may be connected to. Raises AddressRefused where one of them may not, and OSError."""
    addresses = resolver(host, port)
    for address in addresses:
        if reason := refusal(address, allow_private):
            raise AddressRefused(f"the host leads to {reason}")
    if not addresses:
        raise OSError("the host has no address")
    return addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What of an answer counts; its body is not kept."""

    status: int
    retry_after: str = ""


class Deadline:
    """When the request under way has to be over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = 0.0

    def start(self, seconds: float) -> None:
        """A request begins, and may take so long."""
        self._until = self._clock() + seconds

    def left(self, most: float | None, error: type[Exception]) -> float:
        """Seconds that a step may take. Raises `error` where none are left."""
        left = self._until - self._clock()
        if left <= 0:
            raise error("the request took too long")
        return left if most is None else min(left, most)


class _Stream(httpcore.NetworkStream):
    """A stream each of whose steps ends before the deadline: a receiver that sends a byte now and then holds nobody."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for begin in range(0, len(buffer), _SLICE):
            left = self._deadline.left(timeout, httpcore.WriteTimeout)
            self._inner.write(buffer[begin : begin + _SLICE], left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Resolves a name once, checks every address, and connects to one of those: a name that changes its mind is of no use.

    Host header, SNI and the certificate's name stay those of the URL.
    """

    def __init__(self, resolver: Resolve, allow_private: bool, deadline: Deadline) -> None:
        self._resolver = resolver
        self._allow_private = allow_private
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = checked(host, port, self._resolver, self._allow_private)
        except OSError as error:
            raise httpcore.ConnectError(f"the host cannot be resolved ({error.strerror or error})") from error
        failed: Exception = httpcore.ConnectError("no address")
        for number, address in enumerate(addresses):
            # Each address gets its share of the time, so that one that swallows packets does not use up the others'.
            share = self._deadline.left(timeout, httpcore.ConnectTimeout) / (len(addresses) - number)
            try:
                stream = self._inner.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
                continue
            peer = stream.get_extra_info("server_addr")[0]
            if reason := refusal(str(peer), self._allow_private):
                stream.close()
                raise AddressRefused(f"the host leads to {reason}")
            return _Stream(stream, self._deadline)
        raise failed

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.NetworkStream:
        raise AddressRefused("no connections to sockets of this machine")


class Client:
    """Posts to one receiver, one request at a time; keeps the connection between requests."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        ca_file: str = "",
        resolver: Resolve = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deadline = Deadline(clock)
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(cafile=ca_file or None),
            max_connections=1,
            keepalive_expiry=30.0,
            network_backend=GuardedBackend(resolver, allow_private, self._deadline),
        )

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Answer:
        """Send a request and read its answer, within `timeout` seconds in all (resolving a name aside).

        Raises AddressRefused, or an error of httpcore.
        """
        self._deadline.start(timeout)
        steps = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout)}
        with self._pool.stream("POST", url, headers=list(headers.items()), content=body, extensions=steps) as response:
            read = 0
            for chunk in response.iter_stream():
                read += len(chunk)
                if read > MAX_ANSWER:
                    break  # leaving the block closes what was not read to its end
            found = {name.lower(): value for name, value in response.headers}
            return Answer(status=response.status, retry_after=found.get(b"retry-after", b"").decode("latin-1"))

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
