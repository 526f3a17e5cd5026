"""Video decoding, frame sampling and caching."""
