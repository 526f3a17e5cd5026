"""OpenVLA (arXiv 2406.09246) and OpenVLA-OFT with its discrete head (arXiv 2502.19645)."""
