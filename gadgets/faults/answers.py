"""How an answer is made another one, of whatever length."""

from __future__ import annotations

from gadgets.usb.urb import SHORT_NOT_OK, Completion, Status, Urb


def has_data(urb: Urb, done: Completion | None) -> bool:
    """A good IN answer, not isochronous: one that can become longer or shorter."""
    return done is not None and urb.is_in and done.status == Status.OK and not done.packets


def room_of(urb: Urb) -> int:
    """Bytes that the host asked for."""
    return min(urb.length, urb.setup.length) if urb.setup else urb.length


def answered(urb: Urb, data: bytes) -> Completion:
    """`urb` ends with `data`, as on a bus: too much is babble, too little may be an error."""
    room = room_of(urb)
    status = Status.OK
    if len(data) > room:
        status = Status.OVERFLOW
    elif len(data) < urb.length and urb.flags & SHORT_NOT_OK:
        status = Status.REMOTEIO
    return Completion(urb.number, status, len(data[:room]), data[:room])


def patched(urb: Urb, done: Completion, at: int, new: bytes) -> Completion:
    """`new` over what is there from byte `at` on; never longer than before."""
    data = (done.data[:at] + new + done.data[at + len(new) :])[: len(done.data)]
    return Completion(
        done.number, done.status, len(data), data, done.packets, done.start_frame, done.error_count
    )
