"""The composition root: configuration, command line, signals, and plain constructor calls. Decides nothing of
workflows.
"""
