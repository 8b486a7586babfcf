"""Chaos on real processes: `make chaos`, and measurements of what a cluster's clients notice of restarts and splits."""
