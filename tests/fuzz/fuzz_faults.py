"""Whatever goes wrong with a device while a host does whatever; and recordings from strangers."""

from __future__ import annotations

import io
from dataclasses import dataclass
from random import Random
from typing import Any

from appliance.errors import ProtocolError, UsageError
from gadgets.faults.bus import Disconnect, Flapping, Give, Reenumeration
from gadgets.faults.catalogue import FAULTS, AnyFault
from gadgets.faults.classes import DtrDrop, Overrun
from gadgets.faults.fault import Until
from gadgets.faults.faulty import Faulty
from gadgets.hid.keyboard import TypeText, keyboard
from gadgets.replay import format as f
from gadgets.replay.player import replay
from gadgets.replay.recorder import Recorder
from gadgets.replay.recording import Recording
from gadgets.usb.device import BusEvent, Device
from gadgets.usb.urb import ENDPOINT_IN, Urb
from tests.fuzz.fuzz_gadgets import ENDPOINTS, FRESH, KEYBOARD, Script, invent_script, perform
from tests.fuzz.harness import parser
from tests.fuzz.mutation import MUTATIONS, invent
from tests.unit.gadgets.host import Host

OWN_FIELDS: dict[type, dict[str, Any]] = {
    Disconnect: {"back_after": 0.5},
    Flapping: {"times": 2},
    Reenumeration: {"serial": "2"},
    Give: {"input": {"type_text": "x"}},
}
KEYBOARD_KINDS = tuple(kind for kind in FAULTS if kind not in (Overrun, DtrDrop, Reenumeration))
BENCH_KINDS = tuple(kind for kind in FAULTS if kind not in (Overrun, DtrDrop, Give))


def invent_fault(random: Random, kinds: tuple[type[AnyFault], ...]) -> AnyFault:
    kind = random.choice(kinds)
    when: dict[str, Any] = {
        "endpoint": random.choice((None, *ENDPOINTS)),
        "nth": random.choice((0, 0, 1, 3)),
        "every": random.choice((0, 0, 1, 2)),
        "chance": random.choice((1.0, 0.5)),
        "since": random.choice((0.0, 0.0, 0.6)),
        "before": random.choice((0.0, 0.0, 1.2)),
        "count": random.randrange(3),
        "lasting": random.choice((0.0, 0.6)),
        "until": random.choice(tuple(Until)),
    }
    return kind(**when, **OWN_FIELDS.get(kind, {}))


@dataclass(frozen=True)
class Trouble:
    script: Script
    faults: list[AnyFault]
    seed: int


def invent_trouble(random: Random) -> Trouble:
    script = invent_script(random)
    kinds = KEYBOARD_KINDS if script.device is KEYBOARD else BENCH_KINDS
    count = random.choice((1, 1, 2, 4))
    return Trouble(script, [invent_fault(random, kinds) for _ in range(count)], random.getrandbits(64))


def suffer(random: Random, trouble: Trouble) -> None:
    device = trouble.script.device
    device.restore(FRESH[device])
    perform(Faulty(device, trouble.faults, trouble.seed), trouble.script.steps)


# Recordings


def typing(device: Device) -> None:
    device.bus(BusEvent.ATTACH)
    host = Host(device)
    device.local(TypeText("ab"))
    for _ in range(5):
        host.submit(ENDPOINT_IN | 1, 8)
    device.unlink(host.number)
    device.submit(Urb(99, 2, 600, bytes(600)))
    device.submit(Urb(100, 2, 600, bytes(600)))
    device.tick(10**9)
    device.take_events()


def recorded() -> bytes:
    sink = io.BytesIO()
    recorder = Recorder(keyboard(), sink)
    typing(recorder)
    recorder.close()
    return sink.getvalue()


WHOLE = recorded()
PREAMBLE = WHOLE[: Recording(WHOLE).begin]
FRAMES = tuple(Recording(WHOLE).frames())


def invent_recording(random: Random) -> bytes:
    """Noise that no checksum lets pass, or frames that are right but for what is in them."""
    if random.random() < 0.2:
        return invent(random, (WHOLE,))
    made = [PREAMBLE]
    for frame in FRAMES:
        payload = bytearray(WHOLE[frame.start : frame.end])
        if random.random() < 0.1:
            random.choice(MUTATIONS)(random, payload)
        kind = random.choice(FRAMES).kind if random.random() < 0.02 else frame.kind
        made += [f.frame(kind, bytes(payload))] * random.choice((1,) * 20 + (0, 2))
    return b"".join(made)


def read_recording(random: Random, data: bytes) -> None:
    """It is refused, or played to its end or to a difference that can be told."""
    assert str(replay(Recording(data), KEYBOARD))


TARGETS = (
    parser("faults", invent_trouble, suffer, (), share=2),
    parser("recording", invent_recording, read_recording, (ProtocolError, UsageError), share=5),
)
