"""How does a Python program talk to the control plane? Asynchronously, here.

Import from `boxwall`. Pure: `values`, `views`, `network_policy`, `errors`, `endpoint`, `resume` and
`held`.
"""
