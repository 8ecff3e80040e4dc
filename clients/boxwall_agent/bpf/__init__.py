"""Where is a checksum written that was left to the network card? A program in the kernel says."""
