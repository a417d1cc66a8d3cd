"""What is in a disk: raw files, memory, folders, qcow2 and NBD, behind one protocol."""
