"""What a run, its workflow task, an activity or a timer want from the world, derived from state."""
