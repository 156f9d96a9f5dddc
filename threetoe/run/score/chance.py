"""How much of a figure may be chance."""

import math

Z = 1.959964  # of the normal distribution, for 95 %


def interval(share: float, of: int) -> tuple[float, float]:
    """Wilson's interval of a share at 95 %; doi.org/10.1080/01621459.1927.10502953."""
    middle = share + Z * Z / (2 * of)
    half = Z * math.sqrt(share * (1 - share) / of + Z * Z / (4 * of * of))
    low, high = ((middle + sign * half) / (1 + Z * Z / of) for sign in (-1, 1))
    return max(min(low, share), 0.0), min(max(high, share), 1.0)  # rounded to the outside


def sign_test(one: int, other: int) -> float:
    """How likely chance alone splits a count at least as unevenly (two-sided, exact); of rows that
    two models have right and wrong, that is McNemar's test."""
    of = one + other
    tail = sum(math.comb(of, k) for k in range(min(one, other) + 1))
    return min(1.0, 2 * tail / 2**of)


def said(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
