"""vLLM inside of the training process. `engine` imports it; `prompts` and `sampling` are plain and need none."""
