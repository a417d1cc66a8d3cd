"""Descriptors of real devices, and of the lab's QEMU devices, as Linux' sysfs has them."""

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
    "QEMU's keyboard": Captured(
        bytes.fromhex(
            "120100020000004027060100000001040b01"
            "09022200010108a032090400000103010100092111010001223f0007058103080007"
        ),
        Speed.HIGH,
        {1: "QEMU", 4: "QEMU USB Keyboard", 8: "HID Keyboard", 11: "68284-0000:00:04.0-9"},
        report_descriptors={
            0: bytes.fromhex(
                "05010906a10175019508050719e029e7150025018102950175088101950575010508190129059102950175039101"
                "95067508150025ff0507190029ff8100c0"
            ),
        },
    ),
    "QEMU's tablet": Captured(
        bytes.fromhex(
            "120100020000004027060100000001030a01"
            "09022200010107a032090400000103000000092101000001224a0007058103080004"
        ),
        Speed.HIGH,
        {1: "QEMU", 3: "QEMU USB Tablet", 7: "HID Tablet", 10: "28754-0000:00:04.0-9"},
        report_descriptors={
            0: bytes.fromhex(
                "05010902a1010901a10005091901290315002501950375018102950175058101050109300931150026ff7f350046"
                "ff7f751095028102050109381581257f35004500750895018106c0c0"
            ),
        },
    ),
    "QEMU's disk at super speed": Captured(
        bytes.fromhex(
            "1201000300000009f4460100000001020301"
            "09022c00010106c0000904000002080650000705810200040006300f0000000705020200040006300f000000"
        ),
        Speed.SUPER,
        {1: "QEMU", 2: "QEMU USB HARDDRIVE", 3: "1-0000:00:04.0-1", 6: "Super speed config (usb 3.0)"},
    ),
    "QEMU's disk": Captured(
        bytes.fromhex(
            "1201000200000040f4460100000001020301"
            "09022000010105c0000904000002080650000705810200020007050202000200"
        ),
        Speed.HIGH,
        {1: "QEMU", 2: "QEMU USB HARDDRIVE", 3: "1-0000:00:04.0-9", 5: "High speed config (usb 2.0)"},
    ),
    "QEMU's serial adapter": Captured(
        bytes.fromhex(
            "120100020000000803040160000401020401"
            "09022000010100a0320904000002ffffff000705810240000007050202400000"
        ),
        Speed.FULL,
        {1: "QEMU", 2: "QEMU USB SERIAL", 4: "1-0000:00:04.0-9"},
    ),
    "QEMU's sound card": Captured(
        bytes.fromhex(
            "1201000100000040f4460200000001020301"
            "09027100020104c03209040000000101040509240100012b0001010c24020101010002030000060d240602010201"
            "00020002000709240303010300020809040100000102000909040101010102000a072401010001000b2402010202"
            "100180bb000905010dc00001000007250100000000"
        ),
        Speed.FULL,
        {
            1: "QEMU",
            2: "QEMU USB Audio",
            3: "1-0000:00:04.0-9",
            4: "Audio Configuration",
            5: "Audio Device",
            9: "Audio Output - Disabled",
        },
    ),
    "QEMU's network adapter": Captured(
        bytes.fromhex(
            "12010002020000402505a2a4000001020a02"
            "09024300020209c03209040000010202ff0605240010010524010001042402000524060001070581031000200904"
            "0100020a000004070582024000000705020240000009025000020107c03209040000010206000505240010010524"
            "0600010d240f0300000000ea050000000705810310002009040100000a00000009040101020a0000040705820240"
            "000007050202400000"
        ),
        Speed.FULL,
        {
            1: "QEMU",
            2: "RNDIS/QEMU USB Network Device",
            4: "QEMU USB Net Data Interface",
            6: "QEMU USB Net Control Interface",
            9: "QEMU USB Net CDC",
            10: "1-0000:00:04.0-9",
        },
    ),
    "QEMU's card reader": Captured(
        bytes.fromhex(
            "1201100100000040e6083344000001020301"
            "09025d00010100e03209040000030b00000436211001000701000000a00f000000000100008025000000c2010000"
            "fe0000000000000000000000fe04010012000100ffff00000101070581034000ff07058202400000070503024000"
            "00"
        ),
        Speed.FULL,
        {1: "QEMU", 2: "QEMU USB CCID", 3: "1-0000:00:04.0-9", 4: "CCID Interface"},
    ),
    "QEMU's hub": Captured(
        bytes.fromhex(
            "12011001090000080904aa5501010102030109021900010100e000090400000109000000070581030200ff"
        ),
        Speed.FULL,
        {1: "QEMU", 2: "QEMU USB Hub", 3: "314159-0000:00:04.0-9"},
    ),
}
