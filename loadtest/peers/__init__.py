"""Start recipes of other people's servers, each run by an interpreter of its own environment."""
