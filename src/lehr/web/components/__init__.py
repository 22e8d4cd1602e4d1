"""What the browser does by itself: each a plain ES module, and the Python element that puts it on a page."""
