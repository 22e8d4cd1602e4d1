"""The public protocol as Lehr speaks it: messages, statuses, the REST dialect, PATCH.

Knows nothing of stores, servers or tensors.
"""

from lehr.protocol.messages import (
    POOL,
    duration_pb2,
    extensions_pb2,
    field_mask_pb2,
    resources_pb2,
    service_pb2,
    status_code_pb2,
    status_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)

__all__ = [
    "POOL",
    "duration_pb2",
    "extensions_pb2",
    "field_mask_pb2",
    "resources_pb2",
    "service_pb2",
    "status_code_pb2",
    "status_pb2",
    "struct_pb2",
    "timestamp_pb2",
    "wrappers_pb2",
]
