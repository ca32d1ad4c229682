"""The reward dialect: a small language that looks like NumPy and is never executed as Python.

``parse`` turns source text into a typed ``Program`` or refuses it with a line and a reason;
``evaluate`` computes a program on NumPy arrays or torch tensors.
"""

from rewards.dialect.errors import DialectError
from rewards.dialect.evaluator import evaluate
from rewards.dialect.parser import DIALECT_VERSION, Program, parse

__all__ = ["DIALECT_VERSION", "DialectError", "Program", "evaluate", "parse"]
