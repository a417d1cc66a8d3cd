"""In a machine: runs cases of the kernel's usbtest on a device, as tools/usb/testusb does.

    python3 -I -S usbtest.py /dev/bus/usb/BBB/DDD '[[case, iterations, length, vary, sglen], …]'

Prints a line of JSON for each: the case, the name of its errno ("" for none), the microseconds it took.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import sys

IN_AND_OUT, USBFS = 3 << 30, ord("U") << 8


class Parameters(ctypes.Structure):
    """struct usbtest_param_64 of drivers/usb/misc/usbtest.c."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("case", "iterations", "length", "vary", "sglen")),
        *((name, ctypes.c_int64) for name in ("seconds", "microseconds")),
    )


class Request(ctypes.Structure):
    """struct usbdevfs_ioctl of linux/usbdevice_fs.h."""

    _fields_ = (("interface", ctypes.c_int), ("code", ctypes.c_int), ("data", ctypes.c_void_p))


USBTEST_REQUEST = IN_AND_OUT | ctypes.sizeof(Parameters) << 16 | USBFS | 100
USBDEVFS_IOCTL = IN_AND_OUT | ctypes.sizeof(Request) << 16 | USBFS | 18


def run(device: int, case: list[int]) -> tuple[str, int]:
    parameters = Parameters(*case)
    asked = Request(0, ctypes.c_int(USBTEST_REQUEST).value, ctypes.addressof(parameters))
    try:
        fcntl.ioctl(device, USBDEVFS_IOCTL, bytes(asked))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error)), 0
    return "", parameters.seconds * 1_000_000 + parameters.microseconds


if __name__ == "__main__":
    device = os.open(sys.argv[1], os.O_RDWR)
    for case in json.loads(sys.argv[2]):
        print(json.dumps([case[0], *run(device, case)]), flush=True)
