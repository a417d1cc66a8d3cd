"""For tests of software that talks to USB devices: a gadget in a test, and what its host did."""

from gadgets.testing.diary import Transfer
from gadgets.testing.host import Host, TransferFailed
from gadgets.testing.rig import InProcess, Rig

__all__ = ["Host", "InProcess", "Rig", "Transfer", "TransferFailed"]
