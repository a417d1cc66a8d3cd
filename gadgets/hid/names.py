"""Usage pages and usages by name, those that devices are made of most. HID Usage Tables 1.5.

What is not here is written as a number. Names are looked up without regard to case.
"""

from __future__ import annotations

from collections.abc import Mapping

PAGES: Mapping[int, str] = {
    0x01: "Generic Desktop",
    0x02: "Simulation Controls",
    0x03: "VR Controls",
    0x04: "Sport Controls",
    0x05: "Game Controls",
    0x06: "Generic Device Controls",
    0x07: "Keyboard",
    0x08: "LED",
    0x09: "Button",
    0x0A: "Ordinal",
    0x0B: "Telephony",
    0x0C: "Consumer",
    0x0D: "Digitizers",
    0x0E: "Haptics",
    0x0F: "Physical Input Device",
    0x10: "Unicode",
    0x12: "Eye and Head Trackers",
    0x14: "Auxiliary Display",
    0x20: "Sensors",
    0x40: "Medical Instrument",
    0x41: "Braille Display",
    0x59: "Lighting and Illumination",
    0x80: "Monitor",
    0x81: "Monitor Enumerated",
    0x82: "VESA Virtual Controls",
    0x84: "Power",
    0x85: "Battery System",
    0x8C: "Barcode Scanner",
    0x8D: "Scales",
    0x8E: "Magnetic Stripe Reader",
    0x90: "Camera Control",
    0x91: "Arcade",
    0xF1D0: "FIDO Alliance",
}


def _table(text: str) -> Mapping[int, str]:
    """One usage a line: hexadecimal number, name."""
    lines = (line.split(maxsplit=1) for line in text.strip().splitlines())
    return {int(number, 16): name.strip() for number, name in lines}


USAGES: Mapping[int, Mapping[int, str]] = {
    0x01: _table("""
        01 Pointer
        02 Mouse
        04 Joystick
        05 Gamepad
        06 Keyboard
        07 Keypad
        08 Multi-axis Controller
        09 Tablet PC System Controls
        0C Wireless Radio Controls
        0E System Multi-Axis Controller
        30 X
        31 Y
        32 Z
        33 Rx
        34 Ry
        35 Rz
        36 Slider
        37 Dial
        38 Wheel
        39 Hat Switch
        3A Counted Buffer
        3C Motion Wakeup
        3D Start
        3E Select
        40 Vx
        41 Vy
        42 Vz
        48 Resolution Multiplier
        80 System Control
        81 System Power Down
        82 System Sleep
        83 System Wake Up
        85 System Main Menu
        8F System Warm Restart
        90 D-pad Up
        91 D-pad Down
        92 D-pad Right
        93 D-pad Left
        C6 Wireless Radio Button
        """),
    0x02: _table("""
        01 Flight Simulation Device
        02 Automobile Simulation Device
        BA Rudder
        BB Throttle
        C4 Accelerator
        C5 Brake
        C6 Clutch
        C8 Steering
        """),
    0x05: _table("""
        37 Gamepad Fire/Jump
        39 Gamepad Trigger
        """),
    0x06: _table("""
        20 Battery Strength
        """),
    0x08: _table("""
        01 Num Lock
        02 Caps Lock
        03 Scroll Lock
        04 Compose
        05 Kana
        09 Mute
        17 Off-Hook
        18 Ring
        4B Generic Indicator
        """),
    0x0B: _table("""
        01 Phone
        05 Headset
        20 Hook Switch
        21 Flash
        2F Phone Mute
        """),
    0x0C: _table("""
        001 Consumer Control
        030 Power
        032 Sleep
        040 Menu
        06F Display Brightness Increment
        070 Display Brightness Decrement
        0B0 Play
        0B1 Pause
        0B2 Record
        0B3 Fast Forward
        0B4 Rewind
        0B5 Scan Next Track
        0B6 Scan Previous Track
        0B7 Stop
        0B8 Eject
        0CD Play/Pause
        0E0 Volume
        0E2 Mute
        0E9 Volume Increment
        0EA Volume Decrement
        183 AL Consumer Control Configuration
        18A AL Email Reader
        192 AL Calculator
        194 AL Local Machine Browser
        19E AL Terminal Lock/Screensaver
        221 AC Search
        223 AC Home
        224 AC Back
        225 AC Forward
        226 AC Stop
        227 AC Refresh
        22A AC Bookmarks
        238 AC Pan
        """),
    0x0D: _table("""
        01 Digitizer
        02 Pen
        04 Touch Screen
        05 Touch Pad
        0E Device Configuration
        20 Stylus
        21 Puck
        22 Finger
        30 Tip Pressure
        32 In Range
        33 Touch
        3C Invert
        3D X Tilt
        3E Y Tilt
        42 Tip Switch
        44 Barrel Switch
        45 Eraser
        47 Touch Valid
        51 Contact Identifier
        52 Device Mode
        54 Contact Count
        55 Contact Count Maximum
        56 Scan Time
        """),
    0x20: _table("""
        001 Sensor
        031 Environmental Atmospheric Pressure
        032 Environmental Humidity
        033 Environmental Temperature
        041 Light Ambient Light
        073 Motion Accelerometer 3D
        076 Motion Gyrometer 3D
        201 Sensor State
        30E Report Interval
        316 Reporting State
        319 Power State
        432 Data Humidity
        434 Data Temperature
        4D1 Data Illuminance
        """),
    0x84: _table("""
        04 UPS
        10 Battery System
        12 Battery
        30 Voltage
        """),
    0x85: _table("""
        44 Charging
        45 Discharging
        66 Remaining Capacity
        68 Run Time To Empty
        D0 AC Present
        """),
    0x8D: _table("""
        20 Scale Device
        40 Data Weight
        """),
    0xF1D0: _table("""
        01 U2F Authenticator Device
        20 Input Report Data
        21 Output Report Data
        """),
}
"""By page."""
