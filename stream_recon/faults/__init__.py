"""Seeded faults on real trades, and the score of what was said about them: the known truth of demo and tests."""
