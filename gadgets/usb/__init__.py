"""USB itself: URBs, descriptors, the control pipe, the composite device."""
