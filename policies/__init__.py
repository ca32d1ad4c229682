"""Learning algorithms, one file each, and the policy package that they leave behind."""
