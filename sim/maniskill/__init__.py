"""ManiSkill 3's manipulation tasks (Tao et al., arXiv:2410.00425), with documented fields.

Nothing here imports ManiSkill before an environment is made.
"""
