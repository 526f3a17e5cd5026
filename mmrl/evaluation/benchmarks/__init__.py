"""Benchmarks, one file each; `mmrl.recipe.benchmarks` has their names."""
