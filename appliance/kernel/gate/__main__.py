"""`python -m appliance.kernel.gate`: judges what leaves protected addresses. Root; serves one user only."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from appliance.errors import TwinhubError
from appliance.kernel.gate.lag import Lag
from appliance.kernel.gate.messages import GATE_SOCKET
from appliance.kernel.gate.process import Gate, open_queue
from appliance.kernel.helper import account, activated, listen


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m appliance.kernel.gate",
        description="Lets nothing leave a protected address that would tell a client of a crash: "
        "no FIN or RST that is not meant, no acknowledgement of bytes that the backup does not have.",
        epilog="Under systemd socket activation the socket of the unit is used instead of --socket.",
    )
    parser.add_argument(
        "--allow-user", default="twinhub", metavar="USER", help="whom to serve (default: %(default)s)"
    )
    parser.add_argument(
        "--socket",
        type=Path,
        default=GATE_SOCKET,
        metavar="PATH",
        help="where to listen (default: %(default)s)",
    )
    parser.add_argument(
        "--no-lag",
        action="store_true",
        help="acknowledge everything at once, so that after a crash clients repeat when their timers say so",
    )
    return parser


def main() -> int:
    options = arguments().parse_args()
    try:
        user = account(options.allow_user)
        with open_queue() as netlink, activated() or listen(options.socket, user) as listener:
            Gate(netlink, listener, user.pw_uid, None if options.no_lag else Lag()).serve()
    except TwinhubError as error:
        print(f"twinhub-gate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
