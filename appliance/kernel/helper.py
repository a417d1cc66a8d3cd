"""The helper: the one small root process. It does what messages.OPERATIONS names, for one user.

Of the network it sees the connections it is given. It imports no more than it needs: no asyncio, construct.
"""

from __future__ import annotations

import argparse
import array
import os
import pwd
import select
import socket
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from appliance.errors import NotPermitted, TwinhubError, UsageError, describe
from appliance.kernel import modules, stub
from appliance.kernel.messages import (
    HELPER_SOCKET,
    MAX_MESSAGE,
    MAX_REBUILDS,
    Request,
    Result,
    encode_failure,
    encode_result,
    id_within,
    parse_request,
)
from appliance.kernel.paths import Kernel, explained
from appliance.kernel.tcp.repair import read_facts
from appliance.kernel.tcp.state import Rebuild
from appliance.kernel.tcp.takeover import rebuild_all

MAX_CONNECTIONS = 8
"""When one more comes the oldest goes: it may be held open by an orphan of an earlier daemon."""
MAX_FDS = MAX_REBUILDS + 1
"""One more than any operation takes, so that it is seen; the kernel drops the rest."""
MAX_TAIL = 32 << 20
FIRST_ACTIVATED_FD = 3
PEER_CREDENTIALS = struct.Struct("iII")
"""struct ucred: pid, uid, gid. unix(7)."""


@dataclass(slots=True)
class Answer:
    """The result of a request, and the sockets that go with it."""

    result: Result = None
    sockets: list[socket.socket] = field(default_factory=list)


def tcp_facts(fd: int) -> Result:
    with socket.socket(fileno=os.dup(fd)) as connection:
        return read_facts(connection).to_plain()


def tcp_rebuild(request: Request) -> Answer:
    wanted = [
        (Rebuild.from_plain(each), os.pread(fd, MAX_TAIL, 0))
        for each, fd in zip(request.details, request.fds, strict=True)
    ]
    built = rebuild_all(wanted)
    return Answer(
        [describe(each) if isinstance(each, TwinhubError) else None for each in built],
        [each for each in built if isinstance(each, socket.socket)],
    )


HANDLERS: dict[str, Callable[[Kernel, Request], Answer | Result]] = {
    "bind": lambda kernel, request: stub.bind(kernel, request.busid),
    "unbind": lambda kernel, request: stub.unbind(kernel, request.busid),
    "hand_over": lambda kernel, request: stub.hand_over(kernel, request.busid, request.fds[0]),
    "end": lambda kernel, request: stub.end(kernel, request.busid),
    "status": lambda kernel, request: int(stub.status(kernel, request.busid)),
    "load_modules": lambda kernel, request: modules.load_all(kernel, modules.EXPORTING),
    "tcp_facts": lambda kernel, request: tcp_facts(request.fds[0]),
    "tcp_rebuild": lambda kernel, request: tcp_rebuild(request),
}


def answer(
    kernel: Kernel, data: bytes, fds: list[int], truncated: bool = False
) -> tuple[bytes, list[socket.socket]]:
    """The reply to one message, and what goes beside it; whatever is wrong with it is part of the reply."""
    try:
        if truncated:
            raise UsageError(f"a request has at most {MAX_MESSAGE} bytes and {MAX_FDS - 1} descriptors")
        request = parse_request(data, fds)
        done = HANDLERS[request.op](kernel, request)
        found = done if isinstance(done, Answer) else Answer(done)
        return encode_result(request.id, found.result), found.sockets
    except TwinhubError as error:
        return encode_failure(id_within(data), error), []


def serve_one(kernel: Kernel, connection: socket.socket) -> bool:
    """Answers one request; False when the other side is gone. Closes the descriptors that came with it."""
    try:
        data, fds, flags, _ = socket.recv_fds(connection, MAX_MESSAGE, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return False
    try:
        if not data:
            return False
        truncated = bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))
        reply, sockets = answer(kernel, data, fds, truncated)
        with ExitStack() as stack:
            sent = array.array("i", [stack.enter_context(each).fileno() for each in sockets])
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)] if sent else []
            connection.sendmsg([reply], beside, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    finally:
        for fd in fds:
            os.close(fd)
    return True


def serve_connection(kernel: Kernel, connection: socket.socket) -> None:
    """Serves one inherited connection until its other end is closed."""
    while serve_one(kernel, connection):
        pass


def serve(kernel: Kernel, listener: socket.socket, uid: int) -> None:
    """Serves every process of user `uid` that connects, for ever."""
    connections: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, *connections], [], [])
        for connection in [each for each in connections if each in ready]:
            if not serve_one(kernel, connection):
                connections.remove(connection)
                connection.close()
        if listener in ready and (newcomer := accept(listener, uid)):
            connections.append(newcomer)
            if len(connections) > MAX_CONNECTIONS:
                connections.pop(0).close()


def accept(listener: socket.socket, uid: int) -> socket.socket | None:
    """The next connection; None, and closed, when it is not `uid`'s or root's."""
    connection, _ = listener.accept()
    if peer_uid(connection) in (uid, 0):
        return connection
    connection.close()
    return None


def peer_uid(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
    return int(PEER_CREDENTIALS.unpack(raw)[1])


def listen(path: Path, user: pwd.struct_passwd) -> socket.socket:
    """A listening socket at `path` that only this user can connect to; replaces one an earlier helper left.

    Nobody but us may write to its folder: whoever could would make us give away another file.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with explained(f"listen at {path}"):
            path.parent.mkdir(mode=0o755, exist_ok=True)
            folder = path.parent.stat()
            if folder.st_uid != os.geteuid() or folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise UsageError(f"{path.parent} must belong to root and be writable by nobody else")
            path.unlink(missing_ok=True)
            mask = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
            os.chown(path, user.pw_uid, user.pw_gid)
            listener.listen(MAX_CONNECTIONS)
    except BaseException:
        listener.close()
        raise
    return listener


def activated() -> socket.socket | None:
    """The listening socket of a socket unit, if systemd started us for one (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    return socket.socket(fileno=FIRST_ACTIVATED_FD)


def account(user: str) -> pwd.struct_passwd:
    """UsageError when the system has no such user."""
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise UsageError(f"there is no user {user!r}; create it with `useradd --system {user}`") from error


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m appliance.kernel.helper",
        description="Does for an unprivileged Twinhub daemon what needs root: binds devices to usbip-host, "
        "hands sockets to the kernel, builds a lost sibling's TCP connections, loads modules. Runs as root; "
        "serves one user only.",
        epilog="Under systemd socket activation the socket of the unit is used instead of --socket.",
    )
    parser.add_argument(
        "--allow-user",
        default="twinhub",
        metavar="USER",
        help="whom to serve, the daemon's user (default: %(default)s)",
    )
    parser.add_argument(
        "--socket", type=Path, default=HELPER_SOCKET, metavar="PATH",
        help="where to listen (SOCK_SEQPACKET, mode 0600, owned by the user; default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--fd", type=int, metavar="N", help="serve this inherited connection, and end with it"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="where sys, lib/modules and etc are (for tests)",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    kernel = Kernel(options.root)
    if options.fd is not None:
        with socket.socket(fileno=options.fd) as connection:
            serve_connection(kernel, connection)
        return
    user = account(options.allow_user)
    with activated() or listen(options.socket, user) as listener:
        serve(kernel, listener, user.pw_uid)


def main() -> int:
    options = arguments().parse_args()
    try:
        if os.geteuid() != 0 and options.root == Path("/"):
            raise NotPermitted("the helper must run as root; start twinhub-helper.service instead")
        run(options)
    except TwinhubError as error:
        print(f"twinhub-helper: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
