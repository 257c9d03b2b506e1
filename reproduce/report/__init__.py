"""`alexnet report`: what a run is and what it can do, as one page of HTML that needs nothing beside it."""
