"""One module a command: `run(args) -> exit code`. Heavy imports stay inside `run`."""
