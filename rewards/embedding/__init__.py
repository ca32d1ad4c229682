"""Pictures and sentences as vectors that can be compared."""
