"""Index maps: orders as integer expressions, their inverses, loop nests, and proofs that every cell is visited once."""
