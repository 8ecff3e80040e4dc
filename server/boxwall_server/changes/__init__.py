"""Who has seen what: revisions, cursors, the log of changes, and the feed of one watcher.

Pure: values in, values out. No clocks, no sockets, no tasks. The store makes changes, the services
turn what is decided here into frames on streams.
"""
