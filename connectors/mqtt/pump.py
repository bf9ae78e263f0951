"""Driving a client of the MQTT library from an event loop, without a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as paho

_PACKETS_AT_ONCE: Final = 200


class Pump:
    """Lets an event loop drive a client's socket; `heard` is called when there is a word on it."""

    def __init__(
        self, client: paho.Client, loop: asyncio.AbstractEventLoop, heard: Callable[[], None]
    ) -> None:
        self._client = client
        self._loop = loop
        self._heard = heard
        self._watched: int | None = None
        self._running = False
        client.on_socket_close = self._closed
        client.on_socket_register_write = self._want_write
        client.on_socket_unregister_write = self._wrote

    def start(self) -> None:
        """Watch the socket, once the blocking part of connecting is over."""
        peer = self._client.socket()
        if peer is None:
            raise ConnectionError("the connection was closed at once")
        self._running = True
        self._watched = peer.fileno()
        self._loop.add_reader(self._watched, self._read)
        if self._client.want_write():
            self._loop.add_writer(self._watched, self._client.loop_write)

    def stop(self) -> None:
        """Forget the socket, and close it."""
        peer = self._client.socket()
        self._forget()
        self._running = False
        if peer is not None:
            peer.close()

    def _read(self) -> None:
        self._heard()
        for _ in range(_PACKETS_AT_ONCE):
            before = self._client.socket()
            if before is None or self._client.loop_read() != paho.MQTT_ERR_SUCCESS:
                return
            if not isinstance(before, socket.socket) or not _readable(before):
                return
        # what TLS has decrypted already, no selector sees
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._watched is not None:
            self._read()

    def _forget(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._loop.remove_writer(self._watched)
            self._watched = None

    def _closed(self, _: Any, __: Any, ___: Any) -> None:
        if self._running:
            self._forget()

    def _want_write(self, _: Any, __: Any, ___: Any) -> None:
        if self._running and self._watched is not None:
            self._loop.add_writer(self._watched, self._client.loop_write)

    def _wrote(self, _: Any, __: Any, ___: Any) -> None:
        if self._running and self._watched is not None:
            self._loop.remove_writer(self._watched)


def _readable(peer: socket.socket) -> bool:
    if isinstance(peer, ssl.SSLSocket):
        return peer.pending() > 0
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
