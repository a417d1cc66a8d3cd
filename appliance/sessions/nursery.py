"""Forks a worker for each session: `python -m appliance.sessions.nursery --fd N`.

It has imported the workers' code once, so that a session starts within milliseconds and its process shares
that memory. It lives as long as the other end of N, a SOCK_SEQPACKET pair: the daemon. The workers live on.

A request is `SessionSpec.to_json` with the descriptors of the listening control socket and the session's
sockets; the answer is `{"pid": …}`, or `errors.describe`'s form.
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
from collections.abc import Sequence
from typing import Final

from appliance.errors import TwinhubError, Unavailable, describe
from appliance.sessions import software as software  # so that gadgets' workers share it too
from appliance.sessions.state import SessionSpec, SessionState
from appliance.sessions.worker import Worker

REQUEST_LIMIT: Final = 128 << 10
SOCKETS: Final = 3


def serve(daemon: socket.socket) -> None:
    """Answers requests until the daemon's end closes. Returns there, and nowhere else: workers exit."""
    while True:
        request, fds, _, _ = socket.recv_fds(daemon, REQUEST_LIMIT, SOCKETS)
        if not request:
            return
        try:
            spec = SessionSpec.from_json(json.loads(request))
            if not (pid := os.fork()):
                daemon.close()
                work(spec, fds)
            answer: dict[str, object] = {"pid": pid}
        except TwinhubError as error:
            answer = {**describe(error)}
        except OSError as error:
            answer = {**describe(Unavailable(f"cannot start a process for the session: {error.strerror}"))}
        for fd in fds:
            os.close(fd)
        daemon.send(json.dumps(answer).encode())


def work(spec: SessionSpec, fds: Sequence[int]) -> None:
    """The forked process: be the session's worker, and exit."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener, *sockets = (socket.socket(fileno=fd) for fd in fds)
        Worker(SessionState.begin(spec), listener, sockets).run()
        code = 0
    except BaseException:
        logging.getLogger(__name__).exception("the worker of session %s failed", spec.id)
    finally:
        os._exit(code)


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
