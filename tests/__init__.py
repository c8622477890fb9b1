"""The tests; they mirror `src/thalweg`. `tests.stats` holds the statistical assertions."""
