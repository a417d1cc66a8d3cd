"""The little of eBPF that `lag.py` needs: instructions, bpf(2), the tc hook where packets leave."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Sequence
from typing import Final

from appliance.errors import Unavailable

Instruction = bytes

SYSCALL: Final = {"x86_64": 321, "aarch64": 280, "armv7l": 386, "riscv64": 280}
MAP_CREATE, MAP_UPDATE, MAP_DELETE, PROGRAM_LOAD = 0, 2, 3, 5
HASH_MAP, CLASSIFIER = 1, 3
R0, R1, R2, R3, R4, R5, R6, R7, R8, R10 = 0, 1, 2, 3, 4, 5, 6, 7, 8, 10
LOOK_UP, STORE_BYTES, REPLACE_CHECKSUM = 1, 9, 11
"""Helper functions: bpf-helpers(7)."""
LOAD: Final = {1: 0x30, 2: 0x28, 4: 0x20}
"""Of the packet, in host order, into R0; by size."""

RTM_NEWQDISC, RTM_NEWTFILTER, RTM_DELTFILTER = 36, 44, 45
REQUEST, ACKNOWLEDGE, REPLACE, CREATE = 0x1, 0x4, 0x100, 0x400
CLSACT, EGRESS, NO_HANDLE = 0xFFFFFFF1, 0xFFFFFFF3, 0xFFFF0000
KIND, OPTIONS, PROGRAM_FD, PROGRAM_NAME, FLAGS, DIRECT_ACTION = 1, 2, 6, 7, 8, 1
PREFERENCE = 3240
ANY_PROTOCOL = 3


def instruction(code: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> Instruction:
    return struct.pack("=BBhi", code, to | of << 4, offset, value)


def load(size: int, at: int) -> Instruction:
    return instruction(LOAD[size], value=at)


def copy(to: int, of: int) -> Instruction:
    return instruction(0xBF, to, of)


def put(to: int, value: int) -> Instruction:
    return instruction(0xB7, to, value=value)


def add(to: int, value: int) -> Instruction:
    return instruction(0x07, to, value=value)


def mask(to: int, value: int) -> Instruction:
    return instruction(0x57, to, value=value)


def big_endian(to: int, bits: int) -> Instruction:
    return instruction(0xDC, to, value=bits)


def store(at: int, of: int) -> Instruction:
    """32 bits onto the stack."""
    return instruction(0x63, R10, of, at)


def call(function: int) -> Instruction:
    return instruction(0x85, value=function)


def map_into(to: int, fd: int) -> Instruction:
    return instruction(0x18, to, of=1, value=fd) + instruction(0)


def unless(register: int, value: int) -> Instruction:
    """Jumps to the last two instructions of the program; see `linked`."""
    return instruction(0x56, register, value=value - (1 << 32) if value >> 31 else value)


def unless_any(register: int) -> Instruction:
    """Jumps there when it is 0."""
    return instruction(0x15, register)


def shift_right(to: int, bits: int) -> Instruction:
    return instruction(0x77, to, value=bits)


def subtract(to: int, of: int) -> Instruction:
    return instruction(0x1F, to, of)


EXIT = instruction(0x95)


def linked(parts: Sequence[Instruction]) -> bytes:
    """The program, its jumps pointed at its end: the result and EXIT."""
    code = b"".join(parts)
    count = len(code) // 8
    patched = []
    for number in range(count):
        operation, registers, _, value = struct.unpack_from("=BBhi", code, number * 8)
        away = count - 2 - number - 1 if operation in (0x56, 0x15) else None
        patched.append(
            code[number * 8 : number * 8 + 8]
            if away is None
            else struct.pack("=BBhi", operation, registers, away, value)
        )
    return b"".join(patched)


def bpf(command: int, attributes: bytes) -> int:
    """bpf(2); Unavailable with the errno's words."""
    number = SYSCALL.get(platform.machine())
    if number is None:
        raise Unavailable(f"eBPF on {platform.machine()} is not known here")
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    done = int(libc.syscall(number, command, buffer, 128))
    if done < 0:
        raise Unavailable(f"eBPF: {os.strerror(ctypes.get_errno())}")
    return done


def close(fd: int) -> None:
    """What is attached stays."""
    os.close(fd)


def new_map(key: int, value: int, entries: int) -> int:
    return bpf(MAP_CREATE, struct.pack("=5I", HASH_MAP, key, value, entries, 0))


def update(fd: int, key: bytes, value: bytes) -> None:
    here, there = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
    bpf(MAP_UPDATE, struct.pack("=IxxxxQQQ", fd, ctypes.addressof(here), ctypes.addressof(there), 0))


def delete(fd: int, key: bytes) -> None:
    here = ctypes.create_string_buffer(key)
    bpf(MAP_DELETE, struct.pack("=IxxxxQQQ", fd, ctypes.addressof(here), 0, 0))


def load_classifier(program: bytes) -> int:
    code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    where = ctypes.addressof(code), ctypes.addressof(licence)
    return bpf(PROGRAM_LOAD, struct.pack("=IIQQIIQ", CLASSIFIER, len(program) // 8, *where, 0, 0, 0))


def attach(interface: str, program: int) -> None:
    """Has the program see what leaves by the interface, in the place of the one that did."""
    index = socket.if_nametoindex(interface)
    _route(RTM_NEWQDISC, CREATE, _traffic(index, NO_HANDLE, CLSACT, 0) + _attribute(KIND, b"clsact\0"))
    options = _attribute(PROGRAM_FD, struct.pack("=I", program)) + _attribute(PROGRAM_NAME, b"twinhub-lag\0")
    options += _attribute(FLAGS, struct.pack("=I", DIRECT_ACTION))
    _route(
        RTM_NEWTFILTER,
        CREATE | REPLACE,
        _filter(index) + _attribute(KIND, b"bpf\0") + _attribute(OPTIONS, options),
    )


def detach(interface: str) -> None:
    _route(RTM_DELTFILTER, 0, _filter(socket.if_nametoindex(interface)) + _attribute(KIND, b"bpf\0"))


def _filter(index: int) -> bytes:
    return _traffic(index, 1, EGRESS, PREFERENCE << 16 | socket.htons(ANY_PROTOCOL))


def _traffic(index: int, handle: int, parent: int, info: int) -> bytes:
    return struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, handle, parent, info)


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size % 4)


def _route(kind: int, flags: int, body: bytes) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        header = struct.pack("=IHHII", 16 + len(body), kind, flags | REQUEST | ACKNOWLEDGE, 0, 0)
        netlink.send(header + body)
        error = -int(struct.unpack_from("=i", netlink.recv(4096), 16)[0])
    if error:
        raise Unavailable(f"tc: {os.strerror(error)}")
