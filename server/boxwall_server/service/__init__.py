"""The gRPC surface: decode, call, encode. Streams are cursors with a wake-up.

A unary handler is `async def rpc(request, call) -> response`; it never touches a gRPC status. What
every call needs around it (identity, access log, errors) is one wrapper each in `interceptors`.
"""
