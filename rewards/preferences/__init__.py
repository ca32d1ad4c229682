"""Rewards from preferences: which of two things looks closer to what was asked for."""
