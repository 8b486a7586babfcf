"""What each event does to the facts of a run, when it happens and when it gets its id."""
