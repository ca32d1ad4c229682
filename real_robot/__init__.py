"""Robots behind a guard: limits, the control loop, the recorder and the drivers."""
