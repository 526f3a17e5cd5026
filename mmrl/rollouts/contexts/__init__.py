"""Contexts that answers are sampled under, one file each; `mmrl.recipe.contexts` has their names."""
