"""Twinhub, the appliance: finds USB devices, shares them over USB/IP, pairs with a sibling."""

__version__ = "0.1.0"
