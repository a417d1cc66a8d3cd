"""A gadget on a real USB device controller, by the kernel's configfs and FunctionFS."""
