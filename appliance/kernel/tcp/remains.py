"""What a dead process left of a connection: the kernel keeps it while its farewell is not answered, which the
gate does not let out, and nothing can be built in its place. sock_diag(7); include/uapi/linux/inet_diag.h."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Final

from appliance.kernel.tcp.segment import Endpoint

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 4, 20, 21
NLM_F_REQUEST, NLM_F_ACK = 1, 4
LISTEN: Final = 10
"""TCP_LISTEN: who asks for a connection that there is not is told of the listener at its port."""
HEADER: Final = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port"""
REQUEST: Final = struct.Struct("=BBBxI")
"""inet_diag_req_v2: family, protocol, extensions, states; then an inet_diag_sockid"""
FOUND: Final = struct.Struct("=BBBB")
"""inet_diag_msg: family, state, timer, retransmissions; then an inet_diag_sockid"""
PORTS, REST = struct.Struct("!HH"), struct.Struct("=I8s")
"""Of inet_diag_sockid: the ports; then two addresses of 16 bytes; then the interface and the cookie."""
ANY_COOKIE: Final = b"\xff" * 8
EVERY_STATE: Final = 0xFFFFFFFF


def request(kind: int, flags: int, local: Endpoint, remote: Endpoint, cookie: bytes = ANY_COOKIE) -> bytes:
    """A message about the one socket of this connection."""
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    addresses = (ipaddress.ip_address(each).packed.ljust(16, b"\0") for each, _ in (local, remote))
    body = (
        REQUEST.pack(family, socket.IPPROTO_TCP, 0, EVERY_STATE)
        + PORTS.pack(local[1], remote[1])
        + b"".join(addresses)
        + REST.pack(0, cookie)
    )
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body


def cookie_of(answer: bytes) -> bytes | None:
    """The cookie of the connection's socket; None where there is only a listener, or nothing."""
    if HEADER.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY:
        return None
    _, state, *_ = FOUND.unpack_from(answer, HEADER.size)
    at = HEADER.size + FOUND.size + PORTS.size + 32
    cookie: bytes = REST.unpack_from(answer, at)[1]
    return None if state == LISTEN else cookie


def remove(local: Endpoint, remote: Endpoint) -> None:
    """Takes away what is left of this connection, if anything is, and the kernel can (INET_DIAG_DESTROY)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.send(request(SOCK_DIAG_BY_FAMILY, 0, local, remote))
        if cookie := cookie_of(netlink.recv(4096)):
            netlink.send(request(SOCK_DESTROY, NLM_F_ACK, local, remote, cookie))
            netlink.recv(4096)
