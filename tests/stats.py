"""Assertions about estimates: a z-score instead of a tolerance, a fitted slope instead of a ratio.

A fixed tolerance is either wider than a mistake or narrower than the noise. The number of standard errors is
the same scale everywhere: when the code is right, |z| > 4.5 happens about seven times in a million, so that a
whole suite of such checks does not fail by chance, while a wrong sign or a missing factor gives z in the
tens.
"""

from dataclasses import dataclass

import numpy as np

BOUND = 4.5


def z_score(estimate, truth, stderr) -> np.ndarray:
    """(estimate - truth) / stderr, elementwise in double precision.

    Refuses what would make the score meaningless: numbers that are not finite, and a standard error that is
    not positive (an exact answer wants `assert_allclose`, not a z-test).
    """
    estimate, truth, stderr = (np.asarray(a, dtype=np.float64) for a in (estimate, truth, stderr))
    for name, a in (("estimate", estimate), ("truth", truth), ("stderr", stderr)):
        if not np.isfinite(a).all():
            raise AssertionError(f"{name} is not finite: {a}")
    if not (stderr > 0).all():
        raise AssertionError(f"stderr must be positive for a z-test, got {stderr}")
    return (estimate - truth) / stderr


def assert_z(estimate, truth, stderr, bound: float = BOUND, *, max_stderr: float | None = None) -> None:
    """Assert that every component of `estimate` lies within `bound` standard errors of `truth`.

    A test with a large enough error bar passes whatever the code does. Give `max_stderr` where the size of
    the effect that the test should see is known.
    """
    z = z_score(estimate, truth, stderr)
    estimate, truth, stderr = (np.broadcast_to(np.asarray(a), z.shape) for a in (estimate, truth, stderr))
    if max_stderr is not None and (worst := float(stderr.max())) > max_stderr:
        raise AssertionError(f"too blunt to tell: stderr {worst:.3g} > {max_stderr:.3g}; use more samples")
    out = int((np.abs(z) >= bound).sum())
    if out:
        i = np.unravel_index(np.abs(z).argmax(), z.shape)
        place = f" at {tuple(map(int, i))} ({out} of {z.size} out)" if z.ndim else ""
        raise AssertionError(
            f"z = {z[i]:+.2f}{place}, bound {bound}: "
            f"estimate {estimate[i]:.6g}, truth {truth[i]:.6g}, stderr {stderr[i]:.3g}"
        )


@dataclass(frozen=True)
class Slope:
    """A fitted rate and its standard error."""

    slope: float
    stderr: float


def fit_slope(steps, errors, stderrs=None) -> Slope:
    """Least squares of log |error| against log step.

    With `stderrs` (those of `errors`) the points are weighted by them and the slope's error is propagated
    from them; without, it is estimated from the scatter about the line, which needs three points or more.
    """
    steps, errors = np.asarray(steps, dtype=np.float64), np.abs(np.asarray(errors, dtype=np.float64))
    if steps.shape != errors.shape or steps.ndim != 1 or steps.size < (2 if stderrs is not None else 3):
        raise AssertionError(f"too few points, or shapes differ: steps {steps.shape}, errors {errors.shape}")
    if not ((steps > 0).all() and np.isfinite(errors).all() and (errors > 0).all()):
        raise AssertionError(f"log axes need positive finite numbers: steps {steps}, errors {errors}")
    x, y = np.log(steps), np.log(errors)
    # The standard error of log e is that of e, relative to e.
    w = np.ones_like(x) if stderrs is None else (errors / np.asarray(stderrs, dtype=np.float64)) ** 2
    x_mean, y_mean = np.average(x, weights=w), np.average(y, weights=w)
    spread = np.sum(w * (x - x_mean) ** 2)
    slope = np.sum(w * (x - x_mean) * (y - y_mean)) / spread
    if stderrs is not None:
        return Slope(float(slope), float(spread**-0.5))
    residual = y - y_mean - slope * (x - x_mean)
    return Slope(float(slope), float(np.sqrt(np.sum(residual**2) / (x.size - 2) / spread)))


def assert_slope(steps, errors, expected: float, tolerance: float, *, stderrs=None) -> Slope:
    """Assert that the errors fall as step ** expected, to within `tolerance` in the exponent.

    A fit that is itself less certain than `tolerance` fails too: it could not have told a wrong rate.
    """
    fit = fit_slope(steps, errors, stderrs)
    pairs = zip(np.asarray(steps), np.abs(errors), strict=True)
    points = "step: error " + ", ".join(f"{s:.3g}: {e:.3g}" for s, e in pairs)
    if fit.stderr > tolerance:
        raise AssertionError(
            f"slope not determined: {fit.slope:.3f} ± {fit.stderr:.3f}, wanted ± {tolerance} ({points})"
        )
    if abs(fit.slope - expected) > tolerance:
        raise AssertionError(f"slope {fit.slope:.3f} ± {fit.stderr:.3f}, expected {expected} ± {tolerance} ({points})")
    return fit
