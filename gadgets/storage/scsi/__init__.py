"""SCSI devices as hosts use them: SPC-4, SBC-3, and MMC-6 for reading."""
