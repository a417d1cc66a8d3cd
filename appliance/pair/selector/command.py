"""The selector `command:/path/to/program[,timeout=SECONDS]`: whatever the operator has.

program look|claim|renew|release
environment  TWINHUB_GROUP; but for look TWINHUB_NODE and TWINHUB_EPOCH; for claim TWINHUB_HEIR ("": none)
output       {"owner": "a", "epoch": 4, "heir": null}: the standing after the call, one JSON object
exit code    0 granted, 1 refused, both with output; else failed: the last line of its error output says why
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import threading
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Final

from appliance.errors import DeviceFailed, NotFound, NotPermitted, ProtocolError, Timeout
from appliance.explain import shown
from appliance.pair.model import Standing
from appliance.pair.selector.asking import Asking
from appliance.pair.selector.register import Op, Refused, Request, is_epoch, is_node
from appliance.pair.selector.spec import Spec

DEFAULT_SECONDS: Final = 5
LONGEST_OUTPUT: Final = 4096
GRANTED, REFUSED = 0, 1


def open_spec(spec: Spec) -> CommandSelector:
    if not spec.place.startswith("/"):
        raise spec.wrong("wanted the program's whole path")
    seconds = spec.optional_number("timeout", 1, 600)
    return CommandSelector(spec.place, spec.group, seconds or DEFAULT_SECONDS)


class CommandSelector(Asking):
    """A program of the operator: it alone knows what it grants and fences, so it is not called atomic."""

    atomic: Final = False
    lease: Final = math.inf

    def __init__(self, program: str, group: str, seconds: float = DEFAULT_SECONDS) -> None:
        self._program, self._group, self._seconds = program, group, seconds
        self._turn = threading.Lock()
        """held while it runs, which may be longer than who asked has waited"""

    async def ask(self, request: Request) -> Standing:
        code, out, complaint = await asyncio.to_thread(self._run, request)
        if code not in (GRANTED, REFUSED):
            why = complaint or "it does not say why"
            raise DeviceFailed(f"`{self._program} {request.op.value}` failed with exit code {code}: {why}")
        standing = read_standing(out, self._program)
        if code == REFUSED:
            raise Refused(standing)
        return standing

    async def close(self) -> None:
        pass

    def _run(self, request: Request) -> tuple[int, bytes, str]:
        """Exit code, output, and the last line of the error output; killed when it takes too long."""
        call = [self._program, request.op.value]
        said = {**os.environ, **environment(self._group, request)}
        with self._turn, TemporaryFile() as out, TemporaryFile() as complaint:
            try:
                process = subprocess.Popen(
                    call, stdin=subprocess.DEVNULL, stdout=out, stderr=complaint, env=said, process_group=0
                )
            except FileNotFoundError as error:
                raise NotFound(f"there is no program {self._program}") from error
            except OSError as error:
                raise NotPermitted(f"cannot run {self._program}: {error.strerror}; `chmod +x` it?") from error
            try:
                code = process.wait(self._seconds)
            except subprocess.TimeoutExpired as error:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
                process.wait()
                words = " ".join(call)
                raise Timeout(f"`{words}` was stopped: it took longer than {self._seconds:g} s") from error
            lines = _beginning(complaint).decode(errors="replace").strip().splitlines()
            return code, _beginning(out), lines[-1] if lines else ""


def _beginning(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(LONGEST_OUTPUT)


def environment(group: str, request: Request) -> dict[str, str]:
    said = {"TWINHUB_GROUP": group}
    if request.op is not Op.LOOK:
        said |= {"TWINHUB_NODE": request.node, "TWINHUB_EPOCH": str(request.epoch)}
    if request.op is Op.CLAIM:
        said["TWINHUB_HEIR"] = request.heir or ""
    return said


def read_standing(out: bytes, program: str) -> Standing:
    try:
        found = json.loads(out)
        owner, epoch, heir = found["owner"], found["epoch"], found["heir"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ProtocolError(f"{program} printed no standing: {shown(out.decode(errors='replace'))}") from None
    if not (is_epoch(epoch) and all(node is None or is_node(node) for node in (owner, heir))):
        raise ProtocolError(f"{program} printed a standing that makes no sense: {shown(found)}")
    return Standing(owner, epoch, heir)
