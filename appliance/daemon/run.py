"""The daemon from its start to its end: `run(config)` is `twinhub serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from appliance.api.app import full_application, local_application
from appliance.api.sites import SOCKET_NAME, on_tcp, on_unix_socket
from appliance.config import Config
from appliance.daemon import systemd
from appliance.daemon.directory import HubDirectory
from appliance.daemon.facade import Facade
from appliance.daemon.groups import Groups, Means
from appliance.daemon.hub import Hub
from appliance.daemon.journal import open_journal
from appliance.daemon.learning import learn
from appliance.errors import NotPermitted, TwinhubError, Unavailable
from appliance.exports.store import Store
from appliance.inventory.monitor import Inventory
from appliance.kernel.client import Helper, NoHelper, RemoteHelper
from appliance.kernel.gate.messages import GATE_SOCKET
from appliance.kernel.messages import HELPER_SOCKET
from appliance.kernel.spawn import drop_privileges, own_place, spawn_gate, spawn_helper
from appliance.pair.pairing import Pair
from appliance.pair.shared import Sharing
from appliance.pair.vrrp import Connect, Spawned, by_unit
from appliance.security.identity import identity_in
from appliance.usbip.server import Limits, Server, listen
from appliance.usbip.wire import PORT as USBIP_PORT

log = logging.getLogger(__name__)

STATE_FILE: Final = "state.db"
PAIR_FOLDER: Final = "pair"
STANDINGS: Final = "groups.json"
DIRECTORY_MODE: Final = 0o750
IPV6_LOOPBACK: Final = "::1"


@dataclass(frozen=True, slots=True)
class Guards:
    """The root processes that groups need besides the helper: the gate (its socket), and the keeper."""

    gate: Path
    keeper: Connect


def run(config: Config) -> None:
    """Serves until SIGTERM or SIGINT (every device is given back) or SIGHUP (sessions are left running)."""
    open_journal(config.log)
    with ExitStack() as stack:
        make_directories(config)
        helper = find_helper()
        if isinstance(helper, RemoteHelper):
            stack.callback(helper.close)
        guards = find_guards(config)
        if os.geteuid() == 0 and config.paths.user:
            drop_privileges(config.paths.user)
        asyncio.run(serve(config, helper, guards=guards))


def make_directories(config: Config) -> None:
    """The runtime and state directories, ours alone to write: others must not put sockets or rules there."""
    user = config.paths.user if os.geteuid() == 0 else None
    for path in (config.paths.runtime, config.paths.state):
        try:
            path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            if user:
                shutil.chown(path, user, user)
            about = path.stat()
        except OSError as error:
            raise NotPermitted(f"cannot make {path}: {error.strerror}; choose another in [paths]") from error
        if (about.st_uid != os.geteuid() and not user) or about.st_mode & stat.S_IWOTH:
            raise NotPermitted(f"{path} can be written by others; remove it, or choose another in [paths]")


def find_helper() -> Helper:
    """Our own child where we are root, the service where it runs, else one that says how to get one."""
    if os.geteuid() == 0:
        return spawn_helper()
    return RemoteHelper() if HELPER_SOCKET.exists() else NoHelper()


def find_guards(config: Config) -> Guards:
    """Like the helper. Those that groups need are started where there are groups."""
    if os.geteuid() != 0 or not config.groups:
        return Guards(GATE_SOCKET, by_unit)
    place = own_place(config.paths.runtime)
    return Guards(spawn_gate(place / "gate.sock", config.paths.user or "root"), Spawned(place / "keepalived"))


async def serve(
    config: Config,
    helper: Helper,
    also: Callable[[Hub], Coroutine[object, object, object]] | None = None,
    guards: Guards | None = None,
) -> None:
    """`also` runs beside it; when that ends, so does the daemon."""
    check_ports(config)
    store = Store(config.paths.state / STATE_FILE)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        inventory = await stack.enter_async_context(Inventory())
        hub = Hub(config, helper, inventory, store)
        stack.callback(hub.close)
        leave = asyncio.Event()
        stack.push_async_callback(end, hub, leave)
        if config.pair.listen:
            hub.pair = await begin_pair(hub, guards or Guards(GATE_SOCKET, by_unit))
            stack.push_async_callback(hub.pair.close)
        await begin(hub)
        listeners = open_listeners(config)  # not sooner: who can connect is to be answered
        for listener in listeners:
            stack.callback(listener.close)
        if hub.pair:
            sharing = Sharing(hub.pair, store, partial(learn, hub))
            store.watch(sharing.changed_here)
            stack.push_async_callback(sharing.close)
        facade = Facade(hub, [address_text(listener) for listener in listeners])
        server = Server(HubDirectory(hub, facade.figures.refusals), limits(config))
        await stack.enter_async_context(
            on_unix_socket(full_application(facade), config.paths.runtime / SOCKET_NAME)
        )
        port = await stack.enter_async_context(
            on_tcp(local_application(facade), config.status.address, config.status.port)
        )
        announce(config, facade, port)
        async with stopping(leave) as stop:
            tasks = [
                hub.follow(),
                server.serve_on(listeners),
                signs_of_life(),
                told_to_stop(hub, stop, leave),
            ]
            if hub.groups:
                tasks.append(hub.groups.run())
            await first_of([*tasks, also(hub)] if also else tasks)


async def begin_pair(hub: Hub, guards: Guards) -> Pair:
    """The pair port is open when this returns; groups are carried once there is a sibling."""
    config = hub.config
    identity = identity_in(config.paths.state / PAIR_FOLDER)
    pair = Pair(identity, config.pair, socket.gethostname(), lambda: hub.groups.told() if hub.groups else [])
    if config.groups:
        means = Means(
            hub.gadgets.processes, hub.sessions, hub.helper, guards.gate, guards.keeper, hub.events,
            lambda: hub.inventory.devices, hub.ready, config.paths.runtime, config.paths.state / STANDINGS,
        )  # fmt: skip
        hub.groups = Groups(config.groups, config.pair.stall, pair, means)
    await pair.start()
    return pair


async def begin(hub: Hub) -> None:
    """What an earlier daemon left is taken up: its sessions go on, its dead ones free their devices."""
    try:
        await hub.helper.load_modules()
    except TwinhubError as error:
        log.warning("real devices cannot be shared: %s", error)
    await hub.gadgets.begin()
    for spec in await hub.sessions.adopt():
        log.info("session %s of %s with %s goes on", spec.id, spec.name, spec.peer)
    await hub.free_what_nobody_uses()
    await hub.settle()


async def told_to_stop(hub: Hub, stop: asyncio.Event, leave: asyncio.Event) -> None:
    """Returns when a signal has come, and what the sibling can go on with goes on there."""
    await stop.wait()
    if hub.groups and not await is_left(leave):
        await hub.groups.hand_over()


async def is_left(leave: asyncio.Event) -> bool:
    """Whether the next daemon goes on with what runs."""
    return leave.is_set() or await asyncio.to_thread(systemd.restart_is_pending)


async def end(hub: Hub, leave: asyncio.Event) -> None:
    systemd.notify("STOPPING=1")
    if await is_left(leave):
        log.info("leaving; %d sessions go on", len(hub.sessions.all()))
        await hub.gadgets.processes.close(leave=True)
        await hub.sessions.close(leave=True)
        return
    if hub.groups:
        hub.groups.give_up()
    await hub.gadgets.processes.close(leave=False)
    await hub.sessions.close(leave=False)
    await hub.give_all_back()
    log.info("stopped; every device is with its own driver")


def check_ports(config: Config) -> None:
    """Before anything is touched: a second daemon finds them taken. Unavailable."""
    if "LISTEN_PID" in os.environ:
        return  # systemd has kept ours
    for host in config.listen.addresses:
        try:
            for listener in listen(host, config.listen.port):
                listener.close()
        except Unavailable:
            if host != IPV6_LOOPBACK:
                raise


def open_listeners(config: Config) -> list[socket.socket]:
    """Those systemd kept over a restart, so that no client was refused meanwhile; else fresh ones."""
    wanted = [(address, config.listen.port) for address in config.listen.addresses]
    kept = {name: fds for name, fds in systemd.kept().items() if name.startswith("listen-")}
    listeners: list[socket.socket] = []
    for host, port in wanted:
        name = f"listen-{host.replace(':', '_')}-{port}"
        if fds := kept.pop(name, None):
            listeners += [socket.socket(fileno=fd) for fd in fds]
            continue
        try:
            fresh = listen(host, port)
        except Unavailable as error:
            if host != IPV6_LOOPBACK or not listeners:
                raise
            log.warning("%s", error)  # a machine without IPv6 serves all the same
            continue
        for listener in fresh:
            listeners.append(listener)
            systemd.keep(name, listener.fileno())
    for fds in kept.values():
        for fd in fds:
            os.close(fd)
    return listeners


def address_text(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def limits(config: Config) -> Limits:
    return Limits(
        request_seconds=config.limits.handshake,
        answer_seconds=config.limits.answer,
        connections=config.limits.half_open,
        connections_per_peer=config.limits.per_peer,
    )


def announce(config: Config, facade: Facade, status_port: int) -> None:
    listening = ", ".join(facade.listening)
    log.info("USB/IP on %s; metrics on http://%s:%d/metrics", listening, config.status.address, status_port)
    for export in facade.exports():
        attach = how_to_attach(export["name"], facade.listening[0])
        log.info("%s (%s): %s", export["name"], export["description"], attach)
    systemd.notify("READY=1", f"STATUS=USB/IP on {listening}")


def how_to_attach(name: str, listening: str) -> str:
    """What to type on a client of this machine, which listens on "address:port"."""
    address, _, port = listening.rpartition(":")
    host = address.strip("[]")
    if ip_address(host).is_unspecified:
        host = socket.gethostname()
    usbip = "usbip" if int(port) == USBIP_PORT else f"usbip --tcp-port {port}"
    return f"sudo modprobe vhci-hcd && sudo {usbip} attach -r {host} -b {name}"


@asynccontextmanager
async def stopping(leave: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that a signal sets; SIGHUP sets `leave` too."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def hang_up() -> None:
        leave.set()
        stop.set()

    actions = {signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGHUP: hang_up}
    for number, action in actions.items():
        loop.add_signal_handler(number, action)
    try:
        yield stop
    finally:
        for number in actions:
            loop.remove_signal_handler(number)


async def signs_of_life() -> None:
    interval = systemd.watchdog_interval()
    while interval:
        systemd.notify("WATCHDOG=1")
        await asyncio.sleep(interval)
    await asyncio.Event().wait()


async def first_of(work: Sequence[Coroutine[object, object, object]]) -> None:
    """Until one of them ends; the others are cancelled then, and what it died of is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error
