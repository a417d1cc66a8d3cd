"""Descriptors of real devices, as Linux' sysfs has them."""

from __future__ import annotations

from gadgets.definition.clone import Captured
from gadgets.usb.urb import Speed

CAPTURES = {
    "a camera": Captured(
        bytes.fromhex(
            "1201000200000040A904C031020001020301"
            "09022700010100C001 090400000306010100 07058102000200 07050202000200 07058303080009"
        ),
        Speed.HIGH,
        {1: "Canon Inc.", 2: "Canon Digital Camera", 3: "C767F1C714174C309255F70E4A7B2EE2"},
    ),
    "a phone": Captured(
        bytes.fromhex(
            "1201000200000040CE0F6601260202030401"
            "09022700010100C0FA 0904000003FFFF0005 07058102000200 07050202000200 070582031C0006"
        ),
        Speed.HIGH,
        {2: "Sony Ericsson", 3: "SK17i", 4: "CB511YKCTF"},
    ),
    "a security key": Captured(
        bytes.fromhex(
            "120100020000004050102001120501020001"
            "09022900010100800F 090400000203000000 092110010001222200 07050403400002 07058403400002"
        ),
        Speed.FULL,
        {1: "Yubico", 2: "Security Key by Yubico"},
        report_descriptors={
            0: bytes.fromhex(
                "06d0f1 0901 a101 0920 1500 26ff00 7508 9540 8102 0921 1500 26ff00 7508 9540 9102 c0"
            )
        },
    ),
    "a keyboard whose report descriptors nobody read": Captured(
        bytes.fromhex(
            "1201100100000008D9040316100301020001"
            "09023B00020100A032 090400000103010100 092110010001223E00 0705810308000A"
            "090401000103000000 092110010001226500 0705820308000A"
        ),
        Speed.LOW,
        {1: "HOLTEK", 2: "USB Keyboard"},
    ),
    "a hub with two settings": Captured(
        bytes.fromhex(
            "1201000209000240EF170510010000000001"
            "09022900010100E001 090400000109000100 0705810301000C 090400010109000200 0705810301000C"
        ),
        Speed.HIGH,
    ),
    "a root hub": Captured(
        bytes.fromhex(
            "12010002090000406B1D020005030302010109021900010100E000 090400000109000000 0705810304000C"
        ),
        Speed.HIGH,
        {1: "0000:00:1a.0", 2: "EHCI Host Controller", 3: "Linux 3.5.0-rc1 ehci_hcd"},
    ),
}
