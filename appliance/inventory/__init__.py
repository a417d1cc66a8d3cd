"""What is plugged in: sysfs facts, live through pyudev, and the hub tree."""
