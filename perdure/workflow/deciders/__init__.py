"""One file per request: how it is decided.

Each registers its decider with `decides`, or with `fires` what a timer that is due does.
"""
