"""Starting as root without systemd: the helper becomes a child process, and we give up root for good."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

from appliance.errors import NotPermitted, Unavailable
from appliance.kernel.client import RemoteHelper
from appliance.kernel.helper import account

PLACES = Path("/run/twinhub-root")
GATE_SECONDS = 60.0
PR_SET_NO_NEW_PRIVS = 38
"""prctl(2)."""


def spawn_helper(*options: str) -> RemoteHelper:
    """Starts a helper that ends when the connection to it does; call it before `drop_privileges`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-I", "-m", "appliance.kernel.helper", "--fd", str(theirs.fileno()), *options]
    with theirs:
        # In a session of its own, for a Ctrl-C must not end it before every device is given back.
        child = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
    return RemoteHelper.over(ours, child)


def own_place(runtime: Path) -> Path:
    """A folder that is root's alone, for the root processes of the daemon with this runtime directory."""
    place = PLACES / sha256(str(runtime.resolve()).encode()).hexdigest()[:12]
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    return place


def spawn_gate(socket_path: Path, user: str) -> Path:
    """The gate's socket; it is started unless it runs. Sessions need it after us, so it outlives us."""
    if not answers(socket_path):
        command = [sys.executable, "-I", "-m", "appliance.kernel.gate", "--allow-user", user]
        gate = subprocess.Popen([*command, "--socket", str(socket_path)], start_new_session=True)
        deadline = time.monotonic() + GATE_SECONDS
        while not answers(socket_path):
            if gate.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("the gate does not start; what it said is above")
            time.sleep(0.02)
    return socket_path


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        return probe.connect_ex(str(path)) == 0


def drop_privileges(user: str) -> None:
    """Makes this process `user`'s, with the user's groups, for ever: no setuid program gives any back."""
    to = account(user)
    try:
        os.initgroups(user, to.pw_gid)
        os.setresgid(to.pw_gid, to.pw_gid, to.pw_gid)
        os.setresuid(to.pw_uid, to.pw_uid, to.pw_uid)
    except PermissionError as error:
        raise NotPermitted(f"cannot become {user}: only root can") from error
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise NotPermitted(f"cannot set no_new_privs: {os.strerror(ctypes.get_errno())}")
