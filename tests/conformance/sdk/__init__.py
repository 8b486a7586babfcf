"""Programs that use the official Python SDK, each run in a process of its own."""
