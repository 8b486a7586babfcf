"""The pure core: state, evolve, decide; a folder each for deciders, commands, events, derivations.

No clock, no input or output, no await, no globals: `decide(chain, request, context)` returns everything that is to
happen. Importing any part imports `core`, the list of everything that registers itself.
"""

from perdure.workflow import core

__all__ = ["core"]
