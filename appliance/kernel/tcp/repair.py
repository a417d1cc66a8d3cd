"""TCP_REPAIR: reading a live connection's facts and building a connection from them. Needs CAP_NET_ADMIN."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
import termios

from appliance.errors import NotPermitted, Unavailable, UsageError
from appliance.kernel.tcp import remains
from appliance.kernel.tcp.segment import Endpoint, seq
from appliance.kernel.tcp.state import Facts, Rebuild, Standpoint

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_OPTIONS, TCP_TIMESTAMP = 19, 20, 21, 22, 24
TCP_REPAIR_WINDOW = 29
REPAIR_ON, REPAIR_OFF, REPAIR_OFF_SILENTLY = 1, 0, -1
NO_QUEUE, RECEIVE_QUEUE, SEND_QUEUE = 0, 1, 2
MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS = 2, 3, 4, 8
HAS_TIMESTAMPS, HAS_SACK, HAS_WSCALE = 1, 2, 4
ESTABLISHED = 1
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SMALLEST_BUFFER = 4 << 20
"""What a client may have on the way to us, and a bulk answer to it."""
SMALLEST_WINDOW, BIGGEST_WINDOW = 1 << 16, 1 << 20
BIGGEST_MSS = 0x7FFF
"""That TCP_MAXSEG takes."""
WINDOW = struct.Struct("=5I")
"""struct tcp_repair_window: snd_wl1 snd_wnd max_window rcv_wnd rcv_wup."""


def read_facts(connection: socket.socket) -> Facts:
    """The facts of an established connection, which goes on unharmed. Nobody may write to it meanwhile."""
    _set(connection, TCP_REPAIR, REPAIR_ON)
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
        state, options, scales = info[0], info[5], info[6]
        if state != ESTABLISHED:
            raise UsageError("the connection is no longer established")
        seq_in = _unread_from(connection)
        seq_out = _position(connection, SEND_QUEUE)
        scaled = bool(options & HAS_WSCALE)
        return Facts(
            local=_endpoint(connection.getsockname()),
            remote=_endpoint(connection.getpeername()),
            seq_in=seq_in,
            seq_out=seq_out,
            mss=connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG),
            sack=bool(options & HAS_SACK),
            snd_wscale=scales & 15 if scaled else None,
            rcv_wscale=scales >> 4 if scaled else None,
            timestamp=clock_of(connection) if options & HAS_TIMESTAMPS else None,
        )
    finally:
        _set(connection, TCP_REPAIR_QUEUE, NO_QUEUE)
        _end(connection, REPAIR_OFF_SILENTLY)


def clock_of(connection: socket.socket) -> int:
    return seq(connection.getsockopt(socket.IPPROTO_TCP, TCP_TIMESTAMP))


def build(rebuild: Rebuild, tail: bytes, client: Standpoint | None) -> socket.socket:
    """An established connection that goes on where the other ended; what the client lacks leaves at once.

    Where the client was not heard, all of `tail` counts as sent: the kernel probes, and repeats what it must.
    """
    facts = rebuild.facts
    remains.remove(facts.local, facts.remote)
    lacking = tail[len(tail) - client.missing :] if client else tail
    family = socket.AF_INET6 if ":" in facts.local[0] else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            connection.setsockopt(socket.SOL_SOCKET, option, max(SMALLEST_BUFFER, 2 * len(tail)))
        _set(connection, TCP_REPAIR, REPAIR_ON)
        _place(connection, RECEIVE_QUEUE, rebuild.rcv)
        _place(connection, SEND_QUEUE, seq(rebuild.snd - len(lacking)))
        # The kernel fits its segments to this when it connects, and not again when the option below is set.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, min(facts.mss, BIGGEST_MSS))
        connection.bind(facts.local)
        connection.connect(facts.remote)
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_OPTIONS, _options(facts))
        clock = client.clock if client else rebuild.clock
        if clock is not None:
            connection.setsockopt(socket.IPPROTO_TCP, TCP_TIMESTAMP, struct.pack("=I", clock & ~1))
        if client is None:
            _set(connection, TCP_REPAIR_QUEUE, SEND_QUEUE)
            connection.sendall(lacking)
        _set(connection, TCP_REPAIR_QUEUE, NO_QUEUE)
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, _window(rebuild, client))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _end(connection, REPAIR_OFF_SILENTLY if client else REPAIR_OFF)
        if client:
            connection.sendall(lacking)
    except OSError as error:
        connection.close()
        raise Unavailable(f"cannot rebuild the connection to {facts.remote[0]}: {error.strerror}") from error
    return connection


def advertised(facts: Facts) -> int:
    """The window we open to the client, in bytes."""
    return min(BIGGEST_WINDOW, 0xFFFF << (facts.rcv_wscale or 0))


def _options(facts: Facts) -> bytes:
    agreed = [(MSS, facts.mss)]
    if facts.sack:
        agreed.append((SACK_PERMITTED, 0))
    if facts.snd_wscale is not None and facts.rcv_wscale is not None:
        agreed.append((WINDOW_SCALE, facts.snd_wscale | facts.rcv_wscale << 16))
    if facts.timestamp is not None:
        agreed.append((TIMESTAMPS, 0))
    return b"".join(struct.pack("=II", *option) for option in agreed)


def _window(rebuild: Rebuild, client: Standpoint | None) -> bytes:
    theirs = client.window if client else SMALLEST_WINDOW
    return WINDOW.pack(
        rebuild.rcv, theirs, max(theirs, SMALLEST_WINDOW), advertised(rebuild.facts), rebuild.rcv
    )


def _unread_from(connection: socket.socket) -> int:
    """Data may arrive between two questions, so they are asked until nothing did."""
    while True:
        before = _position(connection, RECEIVE_QUEUE)
        unread = array.array("i", [0])
        fcntl.ioctl(connection, termios.FIONREAD, unread)
        if _position(connection, RECEIVE_QUEUE) == before:
            return seq(before - unread[0])


def _position(connection: socket.socket, queue: int) -> int:
    _set(connection, TCP_REPAIR_QUEUE, queue)
    return seq(connection.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ))


def _place(connection: socket.socket, queue: int, position: int) -> None:
    _set(connection, TCP_REPAIR_QUEUE, queue)
    connection.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("=I", position))


def _end(connection: socket.socket, how: int) -> None:
    """The kernel has forgotten that another may listen at this port, as a new daemon wants to."""
    _set(connection, TCP_REPAIR, how)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _set(connection: socket.socket, option: int, value: int) -> None:
    try:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    except PermissionError as error:
        raise NotPermitted("TCP_REPAIR needs CAP_NET_ADMIN: run the helper as root") from error
    except OSError as error:
        raise Unavailable(f"this is no TCP connection, or the kernel lacks TCP_REPAIR: {error}") from error


def _endpoint(address: tuple[str, int]) -> Endpoint:
    """An IPv4 client of an IPv6 socket is an IPv4 client: so it is on the wire."""
    found = ipaddress.ip_address(address[0].partition("%")[0])
    plain = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(plain or found), address[1]
