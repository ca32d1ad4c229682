"""The gate before training: what can be known of a reward without training anything with it."""
