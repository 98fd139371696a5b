"""Numbers as unevaluated sums of two float64, elementwise over arrays: about 32 digits at numpy's speed.

Every operation rests on two that lose nothing: a + b = s + e and a·b = p + e, with e itself a float64.

References: Dekker (1971), A floating-point technique for extending the available precision; Hida, Li & Bailey (2001),
Algorithms for quad-double precision arithmetic.
"""

import math

import numpy as np

from tidewheel.features.frames import Floats

Pair = tuple[Floats, Floats]  #: (hi, lo) of one shape; the value is hi + lo, and |lo| is at most half an ulp of hi

_SPLITTER = 134_217_729.0  # 2**27 + 1
_BITS = 128
_LN2 = 0xB17217F7D1CF79ABC9E3B39803F2F6AF  # ln 2 in units of 2**-128


def two_sum(a: Floats, b: Floats) -> Pair:
    """a + b, exactly."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def two_prod(a: Floats, b: Floats) -> Pair:
    """a·b, exactly, where neither exceeds 1e290 and the product stays above 1e-290 or is 0."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(value: Floats) -> Pair:
    shifted = _SPLITTER * value
    high = shifted - (shifted - value)
    return high, value - high


def _normal(high: Floats, low: Floats) -> Pair:
    total = high + low
    return total, low - (total - high)


def add(a: Pair, b: Pair) -> Pair:
    """a + b to 2**-105 of the result, also where the two nearly cancel."""
    high, error = two_sum(a[0], b[0])
    low, rest = two_sum(a[1], b[1])
    high, error = _normal(high, error + low)
    return _normal(high, error + rest)


def multiply(a: Pair, b: Pair) -> Pair:
    """a·b to 2**-102 of the result."""
    product, error = two_prod(a[0], b[0])
    return _normal(product, error + (a[0] * b[1] + a[1] * b[0]))


def halving(elapsed: int, half_life: int) -> Pair:
    """2**(-elapsed/half_life) for whole numbers, elapsed >= 0: the same bits on every machine, which no libm promises.

    The fraction of a half-life goes through the exponential series in integers of 128 binary places.
    """
    whole, part = divmod(elapsed, half_life)
    exponent = -_LN2 * part // half_life
    term = total = 1 << _BITS
    for place in range(1, 36):  # ln(2)**36 / 36! is below 2**-128
        term = (term * exponent >> _BITS) // place
        total += term
    high = float(total)
    low = float(total - int(high))
    shift = -_BITS - whole
    return np.float64(math.ldexp(high, shift)) * np.ones(()), np.float64(math.ldexp(low, shift)) * np.ones(())
