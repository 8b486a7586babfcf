"""Generated cases: random but legal sequences of requests, on the reference and on Perdure; see README.md."""
