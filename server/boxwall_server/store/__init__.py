"""Where boxes are kept, durably, and in which order writes happened. Begin with `base`."""
