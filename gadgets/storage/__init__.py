"""Mass storage: Bulk-Only Transport, SCSI, and the media in them."""
