"""How do values and errors look on the wire? The only code between `boxwall.v1` and everything
else.
"""
