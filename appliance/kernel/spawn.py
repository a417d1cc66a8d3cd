"""Starting as root without systemd: the helper becomes a child process, and we give up root for good."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys

from appliance.errors import NotPermitted
from appliance.kernel.client import RemoteHelper
from appliance.kernel.helper import account

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
