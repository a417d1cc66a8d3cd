"""Forks the daemon's workers: `python -m appliance.sessions.nursery --fd N`.

It has imported their code once, that of gadgets when the first is asked for, so that they start within
milliseconds and share that memory. It lives as long as the other end of N, a SOCK_SEQPACKET pair: the daemon.
The workers live on.

A request is `{kind of worker: what it is}` with descriptors, of which the first is its listening control
socket; the answer is `{"pid": …}`, or `errors.describe`'s form.

| kind | what it is | further descriptors |
|---|---|---|
| session | `SessionSpec.to_json` of a plugged-in device, and "guard" (guard.py) | the session's sockets |
| shadow | nothing | |
| gadget | `appliance.sessions.gadget.run`'s | |
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

from appliance.errors import TwinhubError, Unavailable, describe
from appliance.sessions.control import REQUEST_LIMIT
from appliance.sessions.state import SessionSpec, SessionState
from appliance.sessions.worker import Worker

SOCKETS: Final = 3


def serve(daemon: socket.socket) -> None:
    """Answers requests until the daemon's end closes. Returns there, and nowhere else: workers exit."""
    while True:
        request, fds, _, _ = socket.recv_fds(daemon, REQUEST_LIMIT, SOCKETS)
        if not request:
            return
        ((kind, what),) = json.loads(request).items()
        try:
            prepare(kind, what)
            if not (pid := os.fork()):
                daemon.close()
                work(kind, what, fds)
            answer: dict[str, object] = {"pid": pid}
        except TwinhubError as error:
            answer = {**describe(error)}
        except OSError as error:
            answer = {**describe(Unavailable(f"cannot start a process for this: {error.strerror}"))}
        for fd in fds:
            os.close(fd)
        daemon.send(json.dumps(answer).encode())


def work(kind: str, what: Mapping[str, Any], fds: Sequence[int]) -> None:
    """The forked process: be the worker, and exit."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        KINDS[kind](what, [socket.socket(fileno=fd) for fd in fds])
        code = 0
    except BaseException:
        logging.getLogger(__name__).exception("the worker of %s %s failed", kind, what.get("name"))
    finally:
        os._exit(code)


def run_session(what: Mapping[str, Any], sockets: Sequence[socket.socket]) -> None:
    listener, *others = sockets
    spec = SessionSpec.from_json({key: value for key, value in what.items() if key != "guard"})
    Worker(SessionState.begin(spec, **what.get("guard", {})), listener, others).run()


def run_shadow(what: Mapping[str, Any], sockets: Sequence[socket.socket]) -> None:
    from appliance.sessions.shadow.process import run

    run(*sockets)


def prepare(kind: str, what: Mapping[str, Any]) -> None:
    """Import what this kind needs beyond a plain session, once for all."""
    if kind == "gadget":
        import_gadget(what)
    elif kind == "shadow" or "guard" in what:
        import_module("appliance.sessions.shadow.process")


def run_gadget(what: Mapping[str, Any], sockets: Sequence[socket.socket]) -> None:
    from appliance.sessions.gadget import run

    run(what, *sockets)


def import_gadget(what: Mapping[str, Any]) -> None:
    """The code of all gadgets, and that of this one as far as it is of the house."""
    from gadgets.definition.kinds import KINDS, class_of

    use_a_gadget()
    for kind in {part["kind"] for part in what["definition"]["functions"]} & KINDS.keys():
        class_of(kind)


@cache
def use_a_gadget() -> None:
    """Some memory is written to when code is first used: half of what a gadget's process would have for its
    own, did it not happen here."""
    from appliance.sessions.portrait import portrait
    from gadgets.definition import catalogue

    with catalogue()["keyboard"].build() as example:
        portrait(example)
    gc.collect()
    gc.freeze()


KINDS: Final[Mapping[str, Callable[[Mapping[str, Any], Sequence[socket.socket]], None]]] = {
    "session": run_session,
    "gadget": run_gadget,
    "shadow": run_shadow,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m appliance.sessions.nursery", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the socket on which the daemon asks")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the daemon
    gc.freeze()
    serve(socket.socket(fileno=parser.parse_args().fd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
