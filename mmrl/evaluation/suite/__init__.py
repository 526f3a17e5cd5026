"""Benchmarks of a checkpoint, one after the other: asked, scored, written as they come, summed up."""
