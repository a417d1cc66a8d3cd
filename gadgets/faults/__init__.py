"""What goes wrong with a device, as told: named, triggered, seeded faults around any gadget."""
