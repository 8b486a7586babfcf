"""Properties: whatever legal requests come in whatever order, the core keeps its invariants."""
