"""How are chains, rules, sets and elements said to nf_tables, and what does our table look like?

Values and their encoding are pure; `kernel` holds the socket.
"""
