"""Every write to sysfs: usbip-host, vhci_hcd, modules; and the small root process that does them."""
