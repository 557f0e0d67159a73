"""A TCP proxy that a test can turn into a black hole, and a doorstep that counts who comes.

For what a network does to a link: it goes silent without closing anything, refuses, or resets.
"""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final

from brokers import free_ports
from waiting import DEADLINE

_CHUNK: Final = 1 << 16
_RESET: Final = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: on, 0 s


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A listening socket on loopback."""
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind((host, port or free_ports(1)[0]))
    door.listen(64)
    return door


class TcpProxy:
    """Forwards connections to a port of 127.0.0.1, until it is told otherwise."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.accepted = 0
        """Connections that have come so far."""
        self._holding = threading.Event()
        self._door = listen()
        self.port: int = self._door.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._door, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def hold(self) -> None:
        """Forward nothing any more, in either direction; nothing is closed, either."""
        self._holding.set()

    def release(self) -> None:
        """Forward again; what has come meanwhile, too."""
        self._holding.clear()
        self._waker.send(b"!")

    def cut(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close everything."""
        self._closing = True
        self._waker.send(b"!")
        self._thread.join(DEADLINE)
        for one in (*(end for pair in self._pairs for end in pair), self._door):
            one.close()
        self._wake.close()
        self._waker.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._closing:
            if self._holding.is_set():
                self._wake.recv(_CHUNK)  # until something changes
                continue
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._wake:
                    self._wake.recv(_CHUNK)
                elif key.fileobj is self._door:
                    self._accept()
                elif not self._holding.is_set():
                    self._pump(key.fileobj, key.data)  # type: ignore[arg-type]

    def _accept(self) -> None:
        near, _ = self._door.accept()
        self.accepted += 1
        try:
            far = socket.create_connection(("127.0.0.1", self.target), DEADLINE)
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.append((near, far))
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        if source.fileno() < 0:
            return  # dropped a moment ago, together with the other end
        try:
            data = source.recv(_CHUNK)
            if data:
                sink.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(source, sink)

    def _drop(self, source: socket.socket, sink: socket.socket) -> None:
        for end in (source, sink):
            self._selector.unregister(end)
        with self._lock:
            self._pairs = [pair for pair in self._pairs if source not in pair]
            source.close()
            sink.close()


class Doorstep:
    """Listens, counts who connects, and gives each connection to `handle` in a thread of its own.

    Without a handler, connections wait in `waiting`.
    """

    def __init__(
        self,
        handle: Callable[[socket.socket], None] | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self.count = 0
        self.waiting: queue.Queue[socket.socket] = queue.Queue()
        self._handle = handle
        self._door = listen(port, host)
        self.port: int = self._door.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self) -> socket.socket:
        """The next connection."""
        return self.waiting.get(timeout=DEADLINE)

    def close(self) -> None:
        """Close the door and every connection."""
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)
        self._door.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE)
        for one in self._open:
            one.close()

    def _run(self) -> None:
        while True:
            try:
                one, _ = self._door.accept()
            except OSError:
                return
            self.count += 1
            self._open.append(one)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._handle is None:
                self.waiting.put(one)
                continue
            thread = threading.Thread(target=self._handled, args=(one,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _handled(self, one: socket.socket) -> None:
        assert self._handle is not None
        with contextlib.suppress(OSError):
            self._handle(one)


@contextlib.contextmanager
def proxied(target: int) -> Iterator[TcpProxy]:
    """A proxy that is closed at the end."""
    proxy = TcpProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()


@contextlib.contextmanager
def doorstep(
    handle: Callable[[socket.socket], None] | None = None, port: int = 0, host: str = "127.0.0.1"
) -> Iterator[Doorstep]:
    """A doorstep that is closed at the end."""
    door = Doorstep(handle, port, host)
    try:
        yield door
    finally:
        door.close()
