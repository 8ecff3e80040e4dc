"""How do people and scripts at a command line talk to the control plane?

`main` is the root, one module for each noun; `session` holds settings and output; what is shown is
made in `render`, which is pure. Modules are imported when a verb needs them, so that help and
completion are quick.
"""
