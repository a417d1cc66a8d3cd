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
from contextlib import suppress
from typing import Final

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
    """A program of the operator's own: it alone knows what it grants and fences, so it is not called atomic."""

    atomic: Final = False
    lease: Final = math.inf

    def __init__(self, program: str, group: str, seconds: float = DEFAULT_SECONDS) -> None:
        self._program, self._group, self._seconds = program, group, seconds
        self._lock = asyncio.Lock()

    async def ask(self, request: Request) -> Standing:
        async with self._lock:
            code, out, complaint = await self._run(request)
        if code not in (GRANTED, REFUSED):
            why = complaint or "it does not say why"
            raise DeviceFailed(f"`{self._program} {request.op.value}` failed with exit code {code}: {why}")
        standing = read_standing(out, self._program)
        if code == REFUSED:
            raise Refused(standing)
        return standing

    async def close(self) -> None:
        pass

    async def _run(self, request: Request) -> tuple[int, bytes, str]:
        """Exit code, output, and the last line of the error output; killed when it takes too long."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                request.op.value,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **environment(self._group, request)},
                limit=LONGEST_OUTPUT,
                process_group=0,
            )
        except FileNotFoundError as error:
            raise NotFound(f"there is no program {self._program}") from error
        except PermissionError as error:
            raise NotPermitted(f"may not run {self._program}; `chmod +x` it") from error
        assert process.stdout
        assert process.stderr
        try:
            async with asyncio.timeout(self._seconds):
                out, complaint = await asyncio.gather(_all(process.stdout), _all(process.stderr))
                code = await process.wait()
        except TimeoutError as error:
            call = f"`{self._program} {request.op.value}`"
            raise Timeout(f"{call} was stopped: it took longer than {self._seconds:g} s") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
            await process.wait()
        lines = complaint.decode(errors="replace").strip().splitlines()
        return code, out, lines[-1] if lines else ""


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


async def _all(stream: asyncio.StreamReader) -> bytes:
    """At most LONGEST_OUTPUT bytes; what is beyond is read and forgotten, so that nobody waits."""
    kept = b""
    while data := await stream.read(LONGEST_OUTPUT):
        kept = (kept + data)[:LONGEST_OUTPUT]
    return kept
