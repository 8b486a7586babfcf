"""The pure core: state, evolve, decide, one file per request or command.

No clock, no input or output, no await, no globals: `decide(chain, request, context)` returns everything that is to happen.
"""
