"""The control plane: keeps one network policy per box and streams changes to the nodes."""
