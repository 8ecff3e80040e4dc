"""What programs on a node say to its agent: generated from protos/boxwall/agent."""
