"""The test device, "gadget zero": known data in endpoints of every kind, for Linux' usbtest to judge."""
