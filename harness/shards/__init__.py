"""A matrix in parts that machines measure without knowing of each other: a plan, its shards, what is missing."""
