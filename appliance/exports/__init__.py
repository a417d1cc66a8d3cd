"""What is shared, under which name, and with whom."""
