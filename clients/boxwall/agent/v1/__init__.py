"""Generated from protos/boxwall/agent/v1: run `make protos`."""
