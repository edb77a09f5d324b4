"""No request goes into somebody's network, however its address is written and whatever a resolver says later."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.addresses import refusal
from destinations.connection import AddressRefused, Client, checked, resolve
from sandbox import certificates

NASTY = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.170.2", "169.254.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "192.88.99.1", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "64:ff9b:1:a00:0:100::", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:a00:1::", "2001:0:808:808:0:0:f5ff:fffe", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "fd12:3456::1",
    "ff02::1", "2001:db8::1", "100::1", "3fff::1", "5f00::1", "4000::1", "", "localhost", "1.2.3", "1.2.3.4.5", "[::1]", "8.8.8.8 ",
]  # fmt: skip
FINE = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NEVER = [
    "169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "0.0.0.0", "::",
    "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "255.255.255.255",
]  # fmt: skip


@pytest.mark.parametrize("address", NASTY)
def test_addresses_inside_networks_are_refused(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize("address", FINE)
def test_public_addresses_are_allowed(address: str) -> None:
    assert refusal(address) == ""


def test_private_ones_are_allowed_where_that_was_said_and_services_of_the_cloud_never() -> None:
    for address in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12:3456::1", "::ffff:10.0.0.1"):
        assert refusal(address, allow_private=True) == "", address
    for address in NEVER:
        assert refusal(address, allow_private=True), address


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_address_is_as_bad_inside_ipv6_as_it_is_alone(address: IPv4Address) -> None:
    number = int(address)
    ways = [(0xFFFF << 32) | number, (0x64FF9B << 96) | number, (0x2002 << 112) | number << 80]
    for way in map(IPv6Address, ways):
        assert bool(refusal(str(way))) == bool(refusal(str(address))), way
        assert bool(refusal(str(way), True)) == bool(refusal(str(address), True)), way


@given(st.ip_addresses(), st.booleans())
def test_every_address_has_an_answer_and_what_python_does_not_call_global_is_refused(
    address: IPv4Address | IPv6Address, allowed: bool
) -> None:
    reason = refusal(str(address), allowed)
    if not address.is_global and not allowed and not (isinstance(address, IPv6Address) and address.ipv4_mapped):
        assert reason


@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "127.0.0.1.", "LOCALHOST", "::1"]
)
def test_names_and_odd_spellings_are_judged_by_where_they_lead(host: str) -> None:
    with pytest.raises((AddressRefused, OSError)):
        checked(host, 80, resolve, allow_private=False)


def test_one_bad_address_among_good_ones_is_enough() -> None:
    with pytest.raises(AddressRefused):
        checked("both.example", 443, lambda host, port: ["8.8.8.8", "10.0.0.1"], allow_private=False)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(0.05)
        yield made


def connections(listener: socket.socket) -> int:
    try:
        listener.accept()[0].close()
    except TimeoutError:
        return 0
    return 1


def test_a_name_that_leads_inside_is_not_connected_to(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    client = Client(resolver=lambda host, port: ["127.0.0.1"])
    with pytest.raises(AddressRefused, match="loopback"):
        client.post(f"http://inside.example:{port}/", {}, b"", 1.0)
    assert connections(listener) == 0


def test_a_name_is_resolved_once_and_what_was_checked_is_what_is_connected_to() -> None:
    """A resolver that answers well when asked to check, and otherwise the second time: the usual rebinding."""
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    seen: list[bytes] = []

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            seen.append(connection.recv(65_536))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        client = Client(resolver=rebinding, allow_private=True)
        assert client.post(f"http://rebound.example:{port}/hook", {"webhook-id": "1"}, b"{}", 5.0).status == 204
        thread.join(5)
        client.close()
    assert asked == ["rebound.example"]
    assert f"Host: rebound.example:{port}\r\n".encode() in seen[0], "the receiver sees the name, not the address"
    again = Client(resolver=rebinding, allow_private=True)
    with pytest.raises(AddressRefused, match="metadata"):
        again.post(f"http://rebound.example:{port}/hook", {}, b"{}", 5.0)


def test_the_certificate_must_be_the_names_though_the_connection_goes_to_an_address(tmp_path: Path) -> None:
    made = certificates.make(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.certificate, made.key)
    names: list[str | None] = []
    context.sni_callback = lambda connection, name, context: names.append(name)

    def answer(server: socket.socket) -> None:
        for _ in range(3):
            with suppress(OSError), context.wrap_socket(server.accept()[0], server_side=True) as connection:
                read = connection.recv(65_536)
                while read and not read.endswith(b"{}"):  # closing with something unread would be a reset
                    read += connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        port = server.getsockname()[1]

        def post(host: str, ca_file: str) -> int:
            client = Client(allow_private=True, ca_file=ca_file, resolver=lambda host, port: ["127.0.0.1"])
            return client.post(f"https://{host}:{port}/", {}, b"{}", 10.0).status

        assert post("localhost", str(made.authority)) == 204
        for host, ca_file in (("other.example", str(made.authority)), ("localhost", "")):
            with pytest.raises(httpcore.ConnectError, match="certificate"):
                post(host, ca_file)
    assert names == ["localhost", "other.example", "localhost"]


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    client = Client(resolver=lambda host, port: ["10.0.0.1"])
    with pytest.raises(AddressRefused):
        client.post("http://example.com/", {}, b"", 0.5)
    assert connections(listener) == 0


def test_a_receiver_that_sends_a_byte_now_and_then_holds_nobody_beyond_the_deadline() -> None:
    """By a clock that moves with each byte: no time is measured."""
    now = [0.0]

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(20):
                now[0] += 1.0
                try:
                    connection.sendall(b".")
                except OSError:
                    return
                answered.wait(0.02)

    answered = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        client = Client(allow_private=True, clock=lambda: now[0])
        with pytest.raises(httpcore.ReadTimeout):
            client.post(f"http://127.0.0.1:{server.getsockname()[1]}/", {}, b"{}", 10.0)
        answered.set()
        client.close()
