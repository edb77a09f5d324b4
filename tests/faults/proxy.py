"""A TCP proxy before the broker that can freeze connections: what is written is taken and never answered, nobody is told."""

from __future__ import annotations

import socket
import threading
import time

FETCH = 1
"""Kafka's number of a fetch request."""


class Proxy:
    """Listens on `port` of 127.0.0.1 and passes everything on to `target`."""

    def __init__(self, port: int, target: int) -> None:
        self._target = target
        self._pairs: list[Pair] = []
        self._cut = False
        self.delay = 0.0
        """Seconds by which whatever passes is late."""
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self, kind: int | None = None) -> int:
        """Freeze the connections there are (that have carried this kind of request); how many. New ones are not."""
        chosen = [pair for pair in self._pairs if pair.open and (kind is None or kind in pair.kinds)]
        for pair in chosen:
            pair.flows.clear()
        return len(chosen)

    def cut(self) -> None:
        """A partition of the network: nothing flows, on new connections neither."""
        self._cut = True
        self.freeze()

    def thaw(self) -> None:
        """Let everything flow again."""
        self._cut = False
        for pair in self._pairs:
            pair.flows.set()

    def close(self) -> None:
        """Listen no longer and cut every connection."""
        self._listener.close()
        for pair in self._pairs:
            pair.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                pair = Pair(client, socket.create_connection(("127.0.0.1", self._target)), self)
                self._pairs.append(pair)
                if self._cut:
                    pair.flows.clear()
            except OSError:
                if self._listener.fileno() < 0:
                    return


class Pair:
    """A client's connection and ours to the broker."""

    def __init__(self, client: socket.socket, broker: socket.socket, proxy: Proxy) -> None:
        self._proxy = proxy
        self.kinds: set[int] = set()
        self.open = True
        self.flows = threading.Event()
        self.flows.set()
        self._ends = (client, broker)
        for source, sink, requests in ((client, broker, True), (broker, client, False)):
            threading.Thread(target=self._pass, args=(source, sink, requests), daemon=True).start()

    def close(self) -> None:
        """Cut both."""
        self.open = False
        self.flows.set()
        for end in self._ends:
            end.close()

    def _pass(self, source: socket.socket, sink: socket.socket, requests: bool) -> None:
        pending = b""
        try:
            while data := source.recv(65_536):
                if requests:
                    pending = self._note(pending + data)
                time.sleep(self._proxy.delay)
                self.flows.wait()
                sink.sendall(data)
        except OSError:
            pass
        self.close()

    def _note(self, data: bytes) -> bytes:
        """Note the kinds of the whole requests in the data; the rest of it."""
        while len(data) >= 6 and len(data) >= 4 + (size := int.from_bytes(data[:4], "big")):
            self.kinds.add(int.from_bytes(data[4:6], "big"))
            data = data[4 + size :]
        return data
