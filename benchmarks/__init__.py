"""Scripts that measure; the last line each prints is JSON."""
