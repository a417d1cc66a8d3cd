"""The firewall's rules that bring packets of a protected address before the gate: no gate, no packet."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from appliance.errors import Unavailable

USBIP_PORT = 3240
QUEUE = 3240
"""The queue's number; any, so long as nobody else has it."""
OUT, IN = "TWINHUB-OUT", "TWINHUB-IN"
HOOKS = {OUT: "OUTPUT", IN: "INPUT"}
PATIENCE = "5"
"""Seconds to wait for another that is changing the rules."""

Command = Sequence[str]


def tool(address: str) -> str:
    return "ip6tables" if ":" in address else "iptables"


def rule(chain: str, address: str) -> list[str]:
    """What USB/IP sends from the address, or is sent there, goes to the queue, and nowhere without it."""
    who, port = ("-s", "--sport") if chain == OUT else ("-d", "--dport")
    which = [who, address, "-p", "tcp", port, str(USBIP_PORT)]
    return [chain, *which, "-j", "NFQUEUE", "--queue-num", str(QUEUE)]


def guard(address: str, chains: Sequence[str] = (OUT, IN)) -> None:
    """Has the packets judged; does nothing where they are already."""
    run = _Firewall(tool(address))
    for chain in chains:
        run.ensure("-N", [chain])
        if not run.has([HOOKS[chain], "-j", chain]):
            run("-I", [HOOKS[chain], "-j", chain])
        if not run.has(rule(chain, address)):
            run("-A", rule(chain, address))


def unguard(address: str, chains: Sequence[str] = (OUT, IN)) -> None:
    """Has them judged no more; does nothing where they are not. The last address takes the chain with it."""
    run = _Firewall(tool(address))
    for chain in chains:
        while run.has(rule(chain, address)):
            run("-D", rule(chain, address))
        if run.is_empty(chain):
            run.ensure("-D", [HOOKS[chain], "-j", chain])
            run.ensure("-X", [chain])


class _Firewall:
    """iptables(8) or ip6tables."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, action: str, words: Command) -> None:
        done = self._run(action, *words)
        if done.returncode != 0:
            raise Unavailable(
                f"{self._name} {action} {' '.join(words)} failed: {done.stderr.strip()}; "
                "the gate needs the kernel's NFQUEUE target (xt_NFQUEUE)"
            )

    def ensure(self, action: str, words: Command) -> None:
        """Where it is so already that is well."""
        self._run(action, *words)

    def has(self, words: Command) -> bool:
        return self._run("-C", *words).returncode == 0

    def is_empty(self, chain: str) -> bool:
        shown = self._run("-S", chain)
        return shown.returncode == 0 and len(shown.stdout.splitlines()) == 1

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self._name, "-w", PATIENCE, *words], capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise Unavailable(f"there is no {self._name}; install the package iptables") from error
