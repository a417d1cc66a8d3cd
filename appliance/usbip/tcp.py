"""How every USB/IP connection of ours is set up, whoever will own it: the options stay with the socket."""

from __future__ import annotations

import socket
from typing import Final

IDLE, INTERVAL, PROBES = 4, 2, 4
"""Keepalive: seconds of silence, seconds between probes, unanswered probes that end the connection."""
USER_TIMEOUT = 12_000
"""Milliseconds that sent data may stay unacknowledged."""

OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, INTERVAL),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


def prepare(sock: socket.socket) -> None:
    """No delay, and a peer that vanished, idle or in mid-transfer, is noticed within 15 s."""
    for level, option, value in OPTIONS:
        sock.setsockopt(level, option, value)
