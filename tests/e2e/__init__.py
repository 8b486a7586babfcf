"""Whole programs on real processes: an official SDK against a Perdure that is killed and started again."""
