"""`make bench`: what measuring costs, and how much of that is upstream's own work. Asserts nothing."""
