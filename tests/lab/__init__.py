"""Real kernels in virtual machines, joined in a network of their own; README.md is the guide."""

from tests.lab.devices import (
    Audio,
    CardReader,
    Device,
    Disk,
    Hub,
    Keyboard,
    Mouse,
    NetworkAdapter,
    SerialAdapter,
    Tablet,
)
from tests.lab.errors import CommandFailed, DeadlinePassed, LabError, MachineDied, QmpError
from tests.lab.lab import Lab
from tests.lab.machine import Machine, Result
from tests.lab.network import Network
from tests.lab.process import Process

__all__ = [
    "Audio", "CardReader", "CommandFailed", "DeadlinePassed", "Device", "Disk", "Hub", "Keyboard", "Lab",
    "LabError", "Machine", "MachineDied", "Mouse", "Network", "NetworkAdapter", "Process", "QmpError",
    "Result", "SerialAdapter", "Tablet",
]  # fmt: skip
