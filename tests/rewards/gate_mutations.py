"""Changes of a reward's text whose effect on its verdict is known, drawn from a seed."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tests.rewards.gate_programs import Case, Expected, program


@dataclass(frozen=True)
class Base:
    """A reward to change, taken apart; its total is the sum of its terms."""

    statements: list[str]
    terms: dict[str, str]
    shares: Mapping[str, float]  # of the total's variance that each term explains
    std: float  # of the total
    positions: list[str]  # the task's fields that are positions

    def text(self, terms: Mapping[str, str], *more: str) -> str:
        """Return the program with other terms, after more statements."""
        total = " + ".join(f"({value})" for value in terms.values())
        return program(total, dict(terms), *self.statements, *more)

    def each(self, form: str) -> str:
        """Return the program with every term ``{}`` written as ``form``."""
        return self.text({name: form.format(f"({term})") for name, term in self.terms.items()})

    @property
    def strongest(self) -> str:
        return max(self.shares, key=lambda name: self.shares[name])

    @property
    def weakest(self) -> str:
        return min(self.shares, key=lambda name: abs(self.shares[name]))

    def gap(self, rng: np.random.Generator, state: str = "next_state") -> str:
        """Return the vector between two positions that are drawn."""
        first, second = sorted(rng.choice(self.positions, 2, replace=False))
        return f"({state}.{first} - {state}.{second})"


def parts(source: str) -> tuple[list[str], dict[str, str]]:
    """Return the statements before the return, and the terms as text."""
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    *statements, last = function.body
    assert isinstance(last, ast.Return)
    assert isinstance(last.value, ast.Tuple)
    listed = last.value.elts[1]
    assert isinstance(listed, ast.Dict)
    terms = {
        str(ast.literal_eval(key)): ast.unparse(value)
        for key, value in zip(listed.keys, listed.values, strict=True)
        if key is not None
    }
    return [ast.unparse(item) for item in statements if not isinstance(item, ast.Expr)], terms


def changed(base: Base, name: str, form: str) -> str:
    """Return the program with one term ``{}`` written as ``form``."""
    return base.text({**base.terms, name: form.format(f"({base.terms[name]})")})


# ---- harmless: the reward is as good as before -----------------------------------------------


def scaled(rng: np.random.Generator, base: Base) -> str:
    return base.each(f"{rng.uniform(0.1, 5):.3f} * {{}}")


def shifted(rng: np.random.Generator, base: Base) -> str:
    return base.text({**base.terms, "offset": f"0.0 * action[:, 0] + {rng.uniform(-3, 3):.3f}"})


def shaped(rng: np.random.Generator, base: Base) -> str:
    after, before = (
        f"np.linalg.norm({base.gap(np.random.default_rng(turn), state)}, axis=-1)"
        for turn in [int(rng.integers(100))]
        for state in ("next_state", "state")
    )
    size = rng.uniform(0.5, 2)
    potential = f"{size:.3f} * (0.99 * {after} - {before})"
    return base.text({**base.terms, "potential": potential})


def renamed(rng: np.random.Generator, base: Base) -> str:
    text = base.text(base.terms)
    for line in base.statements:
        name = line.split(" ", 1)[0]
        text = re.sub(rf"(?<![\w.'\"]){name}\b(?!['\"])", f"{name}_{rng.integers(100)}", text)
    return text


def reordered(rng: np.random.Generator, base: Base) -> str:
    names = list(base.terms)
    return base.text({names[i]: base.terms[names[i]] for i in rng.permutation(len(names))})


def reweighted(rng: np.random.Generator, base: Base) -> str:
    return base.text(
        {name: f"{rng.uniform(0.8, 1.25):.3f} * ({term})" for name, term in base.terms.items()}
    )


def without_the_weakest(rng: np.random.Generator, base: Base) -> str:
    return base.text({k: v for k, v in base.terms.items() if k != base.weakest})


def halved(rng: np.random.Generator, base: Base) -> str:
    name = str(rng.choice(list(base.terms)))
    half = f"0.5 * ({base.terms[name]})"
    return base.text({**base.terms, name: half, "other_half": half})


# ---- doubtful: has to be warned of at least --------------------------------------------------


def blown_up(rng: np.random.Generator, base: Base) -> str:
    return changed(base, str(rng.choice(list(base.terms))), "1000.0 * {}")


def saturated(rng: np.random.Generator, base: Base) -> str:
    total = " + ".join(f"({term})" for term in base.terms.values())
    return base.text({"all": f"np.tanh({rng.uniform(50, 100) / base.std:.3f} * ({total}))"})


def one_sign_flipped(rng: np.random.Generator, base: Base) -> str:
    return changed(base, base.strongest, "-{}")


def busy(rng: np.random.Generator, base: Base) -> str:
    term = (
        f"{rng.uniform(5, 20) * base.std:.3f} * np.sum(np.abs(next_state.joint_velocity), axis=-1)"
    )
    return base.text({**base.terms, "busy": term})


# ---- bad: has to be refused ------------------------------------------------------------------


def flipped(rng: np.random.Generator, base: Base) -> str:
    return base.each("-{}")


def constant(rng: np.random.Generator, base: Base) -> str:
    return base.each(f"0.0 * {{}} + {rng.uniform(-1, 1):.3f}")


def huge(rng: np.random.Generator, base: Base) -> str:
    return base.each(f"{rng.uniform(2e5, 9e5):.0f} * {{}}")


def divided(rng: np.random.Generator, base: Base) -> str:
    gap = base.gap(rng)
    return base.text(
        {**base.terms, "bearing": f"0.1 * {gap}[:, 0] / np.linalg.norm(gap, axis=-1)"},
        f"gap = {gap}",
    )


def logarithm(rng: np.random.Generator, base: Base) -> str:
    term = f"-0.01 * np.log(np.linalg.norm({base.gap(rng)}, axis=-1))"
    return base.text({**base.terms, "log": term})


def negative_root(rng: np.random.Generator, base: Base) -> str:
    term = f"np.sqrt(np.linalg.norm({base.gap(rng)}, axis=-1) - 0.001)"
    return base.text({**base.terms, "root": term})


def at_a_fixed_point(rng: np.random.Generator, base: Base) -> str:
    point = "np.array([{:.3f}, {:.3f}, 0.015])".format(*rng.uniform((0.1, -0.2), (0.2, 0.2)))
    text = base.text(base.terms)
    return re.sub(
        r"(?:next_)?state\.target_position", f"(0.0 * next_state.tip_position + {point})", text
    )


HARMLESS = (scaled, shifted, shaped, renamed, reordered, reweighted, without_the_weakest, halved)
DOUBTFUL = (blown_up, saturated, one_sign_flipped, busy)
BAD = (flipped, constant, huge, divided, logarithm, negative_root, at_a_fixed_point)
MUTATIONS: dict[Expected, tuple[Callable[[np.random.Generator, Base], str], ...]] = {
    "good": HARMLESS,
    "doubtful": DOUBTFUL,
    "bad": BAD,
}


def mutants(name: str, task: str, base: Base, seed: int) -> Iterator[Case]:
    """Yield one case per mutation that changes the text."""
    rng = np.random.default_rng(seed)
    for expected, mutations in MUTATIONS.items():
        for mutation in mutations:
            source = mutation(rng, base)
            if source != base.text(base.terms):  # a task without a target has none to fix
                yield Case(f"{name}: {mutation.__name__}", task, expected, source)
