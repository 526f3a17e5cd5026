"""What flow-matching policies share: samplers with densities, the noise head, prompts, and the adapter."""
