"""What does root inside a box try to get out? One program, run inside, that knows nothing of what
stands in its way.

    python -m attempts '{"name": ..., ...}' FIRST_MARK PLACE_IN_CATALOGUE...

Steps come on standard input, what was attempted goes to standard output. Only Python's own library.
Each attempt carries a mark of its own, at the end of whatever must not arrive; the witness outside
looks for the marks. `catalogue.Surroundings` says what the argument holds.
"""
