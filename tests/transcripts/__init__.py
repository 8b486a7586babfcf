"""Transcripts: requests on a virtual time, and everything that the core decides about them, as text.

`python -m tests.transcripts.rewrite [NAME...]` writes the expected files anew; review the difference.
"""
