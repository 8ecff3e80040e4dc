"""What every call needs around it: one concern, one module, one layer (see `registry.Layer`)."""
