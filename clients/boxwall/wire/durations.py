"""How long a protobuf duration is."""

from google.protobuf.duration_pb2 import Duration


def seconds_of(duration: Duration) -> float:
    """Return its seconds, whatever it says: `ToTimedelta` overflows on what is beyond reason."""
    return duration.seconds + duration.nanos / 1e9
