"""Measurements beside the reference server, in one run: ratios mean something, absolute figures little."""
