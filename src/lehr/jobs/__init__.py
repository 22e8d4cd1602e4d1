"""Work that outlives a request: the durable queue, the worker that claims from it, the launcher of its processes."""
