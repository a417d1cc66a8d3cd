"""The gate's process: the packet queue on one side, workers and the daemon on the other. Root, and tiny.

When it dies the kernel drops every packet of a guarded address: what nobody judges does not leave.
"""

from __future__ import annotations

import secrets
import select
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from appliance.errors import Busy, NotPermitted, TwinhubError, Unavailable
from appliance.kernel.gate import messages, queue, rules
from appliance.kernel.gate.book import Book, Entry, Ruling, checked_entry
from appliance.kernel.gate.judge import Connection
from appliance.kernel.gate.lag import Lag
from appliance.kernel.gate.messages import DONE, Commit, Forget, Freeze, LetGo, Open, Refuse, Register
from appliance.kernel.helper import accept
from appliance.kernel.tcp import probe
from appliance.kernel.tcp.segment import ACK, Segment

MAX_WORKERS = 4096
NO_ENOBUFS, SOL_NETLINK, SO_RCVBUFFORCE = 5, 270, 33
ROOM = 8 << 20
"""For packets the kernel has told of and we have not read."""
AT_ONCE = 64
"""How many packets are judged before the workers are heard again."""


def open_queue() -> socket.socket:
    """The netlink socket that judges our queue. Busy when another gate has it."""
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, queue.NETLINK_NETFILTER)
        netlink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        netlink.setsockopt(SOL_NETLINK, NO_ENOBUFS, 1)
        for request in queue.bind(rules.QUEUE):
            netlink.send(request)
            for answer in queue.parse(netlink.recv(1 << 16)):
                if isinstance(answer, queue.Complaint) and answer.errno:
                    raise Busy(f"queue {rules.QUEUE} has its judge already, or the kernel lacks NFQUEUE")
    except PermissionError as error:
        raise NotPermitted("the gate must run as root; start twinhub-gate.service instead") from error
    except OSError as error:
        raise Unavailable(f"the kernel lacks NFQUEUE (nfnetlink_queue): {error.strerror}") from error
    netlink.setblocking(False)
    return netlink


class Gate:
    """Serves every process of user `uid` that connects to `listener`, for ever."""

    def __init__(self, netlink: socket.socket, listener: socket.socket, uid: int, lag: Lag | None) -> None:
        self._netlink, self._listener, self._uid, self._lag = netlink, listener, uid, lag
        self._book = Book()
        self._workers: dict[int, tuple[socket.socket, Entry | None]] = {}
        self._poll = select.epoll()
        self._firewall = ThreadPoolExecutor(1)
        for each in (netlink, listener):
            self._poll.register(each, select.EPOLLIN)

    def serve(self) -> None:
        while True:
            self.turn()

    def turn(self) -> None:
        """Waits for something and does it: workers first, whose commits let packets pass."""
        ready = {fd for fd, _ in self._poll.poll()}
        for fd in ready & self._workers.keys():
            self._hear(fd)
        if self._netlink.fileno() in ready:
            self._judge()
        if self._listener.fileno() in ready:
            self._welcome()

    def _judge(self) -> None:
        for _ in range(AT_ONCE):
            try:
                data = self._netlink.recv(1 << 16)
            except OSError:
                return
            for found in queue.parse(data):
                if isinstance(found, queue.Packet):
                    self._rule(self._book.packet(found))

    def _rule(self, rulings: Iterable[Ruling]) -> None:
        for packet, accept_it in rulings:
            self._netlink.send(queue.verdict(rules.QUEUE, packet, accept_it))

    def _welcome(self) -> None:
        worker = accept(self._listener, self._uid)
        if worker is None:
            return
        if len(self._workers) >= MAX_WORKERS:
            worker.close()
            return
        worker.setblocking(False)
        self._workers[worker.fileno()] = worker, None
        self._poll.register(worker, select.EPOLLIN)

    def _hear(self, fd: int) -> None:
        worker, entry = self._workers[fd]
        try:
            data = worker.recv(messages.MAX_MESSAGE)
        except OSError:
            data = b""
        if not data:
            self._part(fd)
            return
        try:
            self._do(worker, entry, messages.parse(data))
        except TwinhubError as error:
            _answer(worker, str(error).encode())

    def _part(self, fd: int) -> None:
        worker, entry = self._workers.pop(fd)
        self._poll.unregister(fd)
        worker.close()
        if entry:
            self._book.forget_connection(entry)

    def _do(self, worker: socket.socket, entry: Entry | None, message: messages.Message) -> None:
        match message:
            case Commit(position):
                self._rule(self._book.commit(checked_entry(entry), position))
                if self._lag and entry:
                    self._lag.committed(entry.connection)
                return
            case Register():
                entry = self._book.register(message)
                if self._lag:
                    self._lag.remove(entry.connection)
                self._workers[worker.fileno()] = worker, entry
                self._rule([*self._book.commit(entry, message.position), *self._book.admit(entry)])
            case LetGo():
                entry = checked_entry(entry)
                self._rule(self._book.let_go(entry))
                if self._lag:
                    self._lag.remove(entry.connection)
            case Refuse(connection):
                self._rule(self._book.refuse(connection))
                provoke(connection)
            case Freeze(address):
                self._book.freeze(address)
                self._with_rules(worker, lambda: self._guard(address))
                return
            case Open(address):
                self._rule(self._book.open(address))
                self._firewall.submit(self._lift, address)
            case Forget(address):
                self._rule(self._book.forget(address))
                self._with_rules(worker, lambda: self._unguard(address))
                return
        _answer(worker, DONE)

    def _with_rules(self, worker: socket.socket, change: Callable[[], None]) -> None:
        """Answers when the rules are changed, which takes long and must not keep packets waiting."""

        def work() -> None:
            try:
                change()
            except TwinhubError as error:
                _answer(worker, str(error).encode())
            else:
                _answer(worker, DONE)

        self._firewall.submit(work)

    def _guard(self, address: str) -> None:
        rules.guard(address)
        if self._lag:
            with suppress(Unavailable):
                self._lag.begin(address)

    def _lift(self, address: str) -> None:
        """Nobody waits for it: the book lets everything in already."""
        with suppress(Unavailable):
            rules.unguard(address, [rules.IN])

    def _unguard(self, address: str) -> None:
        rules.unguard(address)
        if self._lag:
            self._lag.end(address)


def provoke(connection: Connection) -> None:
    """Makes the client say something; a kernel that knows of no such connection answers with RST."""
    ours, theirs = connection
    with suppress(OSError):
        probe.send(Segment(ours, theirs, secrets.randbits(32), secrets.randbits(32), ACK, 0), b"\0")


def _answer(worker: socket.socket, answer: bytes) -> None:
    with suppress(OSError):
        worker.send(answer, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
