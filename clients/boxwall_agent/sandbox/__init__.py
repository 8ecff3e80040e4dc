"""How does a command get a network of its own, and how does that go away again?

Of `boxwall run`. Nothing here uses gRPC, and all of it is done before the first call is made or in
a thread: a process that has used gRPC must not fork.
"""
