"""What every algorithm shares: stacked networks, one flat buffer, data on the training device.

Needs torch and numpy alone.
"""
