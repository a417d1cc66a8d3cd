"""Functions that the kernel itself provides (drivers/usb/gadget/function), mixed into a gadget on a UDC.

In a definition they are `kind = "kernel:ncm"`; their options are the attributes that configfs has for them
(Documentation/ABI/testing/configfs-usb-gadget-*). What is not given is left as the kernel has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from appliance.errors import Refused
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.function import Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.records import Range

Value = str | int | bool | Path | None


class KernelFunction(Function):
    """`driver`: usb_f_<driver>. `in_endpoints`, `out_endpoints`: what it takes of the controller.
    `attributes` and `links` are what configfs is told, relative to the function's folder."""

    driver: ClassVar[str]
    in_endpoints: ClassVar[int]
    out_endpoints: ClassVar[int]
    isochronous: ClassVar[bool] = False

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}
        self.links: dict[str, str] = {}

    def set(self, **attributes: Value) -> None:
        self.attributes |= written(attributes)

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        raise Refused(
            f"kernel:{self.driver} is a function of the kernel and exists on a real USB device controller"
            " only: run the gadget with --udc, or leave the function out"
        )


def written(attributes: Mapping[str, Value]) -> dict[str, str]:
    """As configfs reads them; None and empty texts are not written."""
    given = {name: value for name, value in attributes.items() if value is not None and value != ""}
    return {name: _text(value) for name, value in given.items()}


def _text(value: Value) -> str:
    if isinstance(value, Path):
        return str(value.absolute())
    return str(int(value)) if isinstance(value, bool) else str(value)


class _Ethernet(KernelFunction):
    in_endpoints, out_endpoints = 2, 1

    def __init__(
        self, *, dev_addr: str = "", host_addr: str = "", ifname: str = "", qmult: int | None = None
    ) -> None:
        """MAC addresses of both ends; the interface's name here, with %d for a number."""
        super().__init__()
        self.set(dev_addr=dev_addr, host_addr=host_addr, ifname=ifname, qmult=qmult)


class Ncm(_Ethernet):
    """Network interface, CDC-NCM."""

    driver = "ncm"


class Ecm(_Ethernet):
    """Network interface, CDC-ECM."""

    driver = "ecm"


class Rndis(_Ethernet):
    """Network interface, Microsoft's RNDIS."""

    driver = "rndis"


class Acm(KernelFunction):
    """Serial port, CDC-ACM: /dev/ttyGS<n> here."""

    driver = "acm"
    in_endpoints, out_endpoints = 2, 1


class MassStorage(KernelFunction):
    """Disk, f_mass_storage, of one unit."""

    driver = "mass_storage"
    in_endpoints, out_endpoints = 1, 1

    def __init__(
        self,
        *,
        file: Path | None = None,
        ro: bool = False,
        cdrom: bool = False,
        removable: bool = True,
        nofua: bool = False,
        stall: bool | None = None,
    ) -> None:
        """`stall`: false on dwc2, which loses data after a halt."""
        super().__init__()
        self.set(stall=stall)
        unit: dict[str, Value] = {
            "ro": ro,
            "cdrom": cdrom,
            "removable": removable,
            "nofua": nofua,
            "file": file,
        }
        self.attributes |= {f"lun.0/{name}": value for name, value in written(unit).items()}


class Midi(KernelFunction):
    """MIDI ports; a sound card here."""

    driver = "midi"
    in_endpoints, out_endpoints = 1, 1

    def __init__(self, *, id: str = "", in_ports: int = 1, out_ports: int = 1) -> None:
        super().__init__()
        self.set(id=id, in_ports=in_ports, out_ports=out_ports)


class _Audio(KernelFunction):
    isochronous = True

    def __init__(
        self,
        *,
        p_chmask: int | None = None,
        p_srate: int | None = None,
        p_ssize: int | None = None,
        c_chmask: int | None = None,
        c_srate: int | None = None,
        c_ssize: int | None = None,
    ) -> None:
        """p_: what is played to the host, c_: what is captured from it. Masks of channels (0: none), samples
        a second, bytes of a sample."""
        super().__init__()
        self.set(
            p_chmask=p_chmask,
            p_srate=p_srate,
            p_ssize=p_ssize,
            c_chmask=c_chmask,
            c_srate=c_srate,
            c_ssize=c_ssize,
        )


class Uac1(_Audio):
    """Sound card, USB Audio 1.0; a sound card here, too."""

    driver = "uac1"
    in_endpoints, out_endpoints = 1, 1


class Uac2(_Audio):
    """Sound card, USB Audio 2.0; a sound card here, too."""

    driver = "uac2"
    in_endpoints, out_endpoints = 2, 1


class Uvc(KernelFunction):
    """Camera, USB Video: one uncompressed (YUYV) format of one frame size. A program here gives the frames
    through /dev/video<n> (uvc-gadget)."""

    driver = "uvc"
    in_endpoints, out_endpoints = 2, 0
    isochronous = True

    def __init__(
        self,
        *,
        width: int = 640,
        height: int = 360,
        frames_a_second: Annotated[int, Range(1, 1000)] = 15,
        streaming_maxpacket: int = 1024,
    ) -> None:
        super().__init__()
        size = width * height * 2
        frame: dict[str, Value] = {
            "wWidth": width,
            "wHeight": height,
            "dwMaxVideoFrameBufferSize": size,
            "dwDefaultFrameInterval": 10_000_000 // frames_a_second,
            "dwFrameInterval": 10_000_000 // frames_a_second,
        }
        self.set(streaming_maxpacket=streaming_maxpacket)
        self.attributes |= {
            f"streaming/uncompressed/u/f/{name}": text for name, text in written(frame).items()
        }
        self.links = {
            "streaming/header/h/u": "streaming/uncompressed/u",
            **{f"streaming/class/{speed}/h": "streaming/header/h" for speed in ("fs", "hs", "ss")},
            **{f"control/class/{speed}/h": "control/header/h" for speed in ("fs", "ss")},
        }
