"""One module per robot: each implements ``embodied.types.Robot`` and converts units at its edge."""
