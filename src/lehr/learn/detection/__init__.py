"""The parts of a dense detector: boxes, anchors, matching, network, objective, post-processing."""
