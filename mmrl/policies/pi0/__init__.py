"""π0 (arXiv 2410.24164) on transformers' own model, and π0.5 (arXiv 2504.16054) on the same base."""
