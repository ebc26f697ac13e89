"""Families that calculate: sums, products, mixed expressions, equations, fractions.

The shared wrong procedure is to misread the operators: + as -, - as +, * as +.
"""

from __future__ import annotations

import ast
import operator
import re
from fractions import Fraction

from bots_jax.tasks.families.family import Entry, Family

_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_MISREAD = {"+": "-", "-": "+", "*": "+"}


def evaluate(expression: str) -> int:
    """Evaluates whole numbers joined by +, -, *, unary - and parentheses.

    Raises:
      ValueError: if the expression contains anything else.

    >>> evaluate("-(2-5)*4")
    12
    """

    def value(node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
                return _OPERATIONS[type(op)](value(left), value(right))
        raise ValueError(f"expression may hold numbers, + - * ( ), got {expression!r}")

    return value(ast.parse(expression, mode="eval").body)


def misread_operators(entry: Entry) -> list[str]:
    """Evaluates with + read as -, - as +, and * as +; signs of numbers are kept.

    >>> misread_operators({"metadata": {"expression": "4 - 1 * -7"}})
    ['-2']
    """
    expression = re.sub(
        r"(?<=[\d)])[-+*]",
        lambda found: _MISREAD[found.group()],
        squeeze(entry["metadata"]["expression"]),
    )
    return [str(evaluate(expression))]


def squeeze(text: str) -> str:
    """Removes blanks.

    >>> squeeze("4 - 1 - 7")
    '4-1-7'
    """
    return text.replace(" ", "")


def space_operators(text: str) -> str:
    """Puts one blank on each side of every operator between two unsigned numbers.

    >>> space_operators("4-1*7")
    '4 - 1 * 7'
    """
    return re.sub(r"[-+*]", r" \g<0> ", text)


_EQUATION_FORMS = {
    "f": "Find the value of {} in the equation: ",
    "s": "Solve for {}: ",
    "d": "Determine the value of {} that satisfies: ",
}


def shorten_equation(question: str) -> str:
    """Keeps the first letter of the wording and the equation without blanks.

    >>> shorten_equation("Solve for z: 3 - 4*z = -5")
    's3-4*z=-5'
    """
    return question[0].lower() + squeeze(question.partition(": ")[2])


def lengthen_equation(short: str) -> str:
    """Inverts `shorten_equation`; the variable is the equation's only letter.

    >>> lengthen_equation("s3-4*z=-5")
    'Solve for z: 3 - 4*z = -5'
    """
    opening, equation = _EQUATION_FORMS[short[0]], short[1:]
    variable = "".join(re.findall("[a-z]", equation))
    spaced = re.sub(r"(?<=[\da-z])[-+]", r" \g<0> ", equation).replace("=", " = ")
    return opening.format(variable) + spaced


def undivided_solution(entry: Entry) -> list[str]:
    """Moves the constant without changing its sign, and forgets to divide.

    >>> undivided_solution({"metadata": {"equation": "4*x - 3 = 17"}})
    ['14']
    """
    left, right = squeeze(entry["metadata"]["equation"]).split("=")
    terms = re.findall(r"[-+]?[^-+]+", left)
    constant = sum(int(term) for term in terms if not re.search("[a-z]", term))
    return [str(int(right) + constant)]


def inverted_fraction(entry: Entry) -> list[str]:
    """Simplifies the fraction upside down; else forgets to simplify.

    >>> inverted_fraction({"answer": "2/3", "metadata": {"numerator": 4,
    ...     "denominator": 6}})
    ['3/2', '4/6']
    """
    fraction = Fraction(entry["answer"])
    metadata = entry["metadata"]
    return [
        f"{fraction.denominator}/{fraction.numerator}",
        f"{metadata['numerator']}/{metadata['denominator']}",
    ]


def _terms(terms: int, digits: int) -> dict[str, int]:
    return {
        "min_terms": terms,
        "max_terms": terms,
        "min_digits": digits,
        "max_digits": digits,
    }


def _expression(terms: int, digits: int) -> dict[str, object]:
    operators = ("+", "-", "*")
    return {**_terms(terms, digits), "operators": operators, "whitespace": "no_space"}


def _equation(terms: int, max_value: int, weights: dict[str, float]) -> dict:
    return {
        "min_terms": terms,
        "max_terms": terms,
        "max_value": max_value,
        "operators": tuple(weights),
        "operators_weights": list(weights.values()),
    }


def _fraction(max_value: int, min_factor: int, max_factor: int) -> dict[str, object]:
    return {
        "max_value": max_value,
        "min_factor": min_factor,
        "max_factor": max_factor,
        "styles": ("plain",),
    }


CHAIN_SUM = Family(
    name="chain_sum",
    symbol="+",
    template="State the final answer to the following arithmetic problem: {} =",
    levels=(_terms(2, 1), _terms(3, 1), _terms(2, 2), _terms(3, 3)),
    mistakes=misread_operators,
    shorten=squeeze,
    lengthen=space_operators,
)

PRODUCTS = Family(
    name="products",
    symbol="*",
    template=(
        "Solve the following multiplication: {}. "
        "Give only the result as your final answer."
    ),
    levels=(_terms(2, 1), _terms(3, 1), _terms(2, 2), _terms(2, 3)),
    mistakes=misread_operators,
    shorten=squeeze,
    lengthen=space_operators,
)

BASIC_ARITHMETIC = Family(
    name="basic_arithmetic",
    symbol="C",
    template="Calculate {}.",
    levels=(_expression(2, 1), _expression(3, 1), _expression(4, 1), _expression(3, 2)),
    mistakes=misread_operators,
)

SIMPLE_EQUATIONS = Family(
    name="simple_equations",
    symbol="X",
    template="{}",
    levels=(
        _equation(2, 4, {"+": 1.0}),
        _equation(2, 9, {"+": 0.5, "-": 0.5}),
        _equation(2, 9, {"+": 0.4, "-": 0.4, "*": 0.2}),
        _equation(3, 20, {"+": 0.4, "-": 0.4, "*": 0.2}),
    ),
    mistakes=undivided_solution,
    shorten=shorten_equation,
    lengthen=lengthen_equation,
)

FRACTION_SIMPLIFICATION = Family(
    name="fraction_simplification",
    symbol="/",
    template=(
        "Simplify the fraction {} to its lowest terms. "
        "Give only the simplified fraction as your final answer."
    ),
    levels=(
        _fraction(9, 2, 3),
        _fraction(9, 4, 9),
        _fraction(30, 2, 9),
        _fraction(99, 11, 40),
    ),
    mistakes=inverted_fraction,
)

ARITHMETIC = (
    CHAIN_SUM,
    PRODUCTS,
    BASIC_ARITHMETIC,
    SIMPLE_EQUATIONS,
    FRACTION_SIMPLIFICATION,
)
