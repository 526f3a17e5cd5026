"""Parts for mmrl, one file per kind."""
