"""What is trained, together with what it learns from: the whole network on pixels, or its head on cached features."""
