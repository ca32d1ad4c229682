"""Rewards: from a sentence, a file or the simulator to a number per transition."""
