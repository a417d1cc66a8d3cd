"""Every error Twinhub raises on purpose, and its one mapping to exit code, HTTP status and USB/IP status.

TwinhubError            1   500  5   something failed; the message says what and what to do
├── UsageError          2   400  5   the request makes no sense (bad argument, bad rule, bad name)
│   └── ConfigError     2   400  5   a configuration file is wrong; names file, line and key
├── NotFound            3   404  4   no such device, export, session or port
├── Busy                4   409  2   in use by another client
├── Refused             5   403  1   a rule or a policy says no; the message names it
├── NotPermitted        6   403  5   this process lacks a privilege (not root, no helper)
├── Unavailable         7   503  1   a part is missing or not running (module, daemon, helper)
├── DeviceFailed        8   502  3   the device or its driver is in an error state
│   └── MediumError     8   502  3   what is in a disk cannot be read or written, or is full
└── PeerError           9   502  5   the other side broke the protocol or went away
    ├── ProtocolError   9   502  5   bytes that USB/IP does not allow
    └── Timeout         9   504  5   the other side did not answer in time
"""

from __future__ import annotations

from typing import ClassVar


class TwinhubError(Exception):
    """Base of the tree. `str(error)` is a sentence for the user."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    usbip_status: ClassVar[int] = 5


class UsageError(TwinhubError):
    exit_code, http_status = 2, 400


class ConfigError(UsageError):
    pass


class NotFound(TwinhubError):
    exit_code, http_status, usbip_status = 3, 404, 4


class Busy(TwinhubError):
    exit_code, http_status, usbip_status = 4, 409, 2


class Refused(TwinhubError):
    exit_code, http_status, usbip_status = 5, 403, 1


class NotPermitted(TwinhubError):
    exit_code, http_status = 6, 403


class Unavailable(TwinhubError):
    exit_code, http_status, usbip_status = 7, 503, 1


class DeviceFailed(TwinhubError):
    exit_code, http_status, usbip_status = 8, 502, 3


class MediumError(DeviceFailed):
    pass


class PeerError(TwinhubError):
    exit_code, http_status = 9, 502


class ProtocolError(PeerError):
    pass


class Timeout(PeerError):
    http_status = 504


BY_NAME: dict[str, type[TwinhubError]] = {
    cls.__name__: cls
    for cls in (
        TwinhubError, UsageError, ConfigError, NotFound, Busy, Refused, NotPermitted, Unavailable,
        DeviceFailed, MediumError, PeerError, ProtocolError, Timeout,
    )
}  # fmt: skip


def describe(error: TwinhubError) -> dict[str, str]:
    """The error as it crosses a process boundary: {"error": class name, "message": sentence}."""
    return {"error": type(error).__name__, "message": str(error)}


def revive(described: dict[str, str]) -> TwinhubError:
    """The inverse of `describe`; an unknown class name becomes a plain TwinhubError."""
    return BY_NAME.get(str(described.get("error")), TwinhubError)(described.get("message", "unknown error"))
