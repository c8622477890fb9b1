"""Posteriors of real data: one whose evidence is known exactly, one that is only log-concave.

Answers    what is the evidence of this model on these data, and what are its coefficients?
Equations  LinearRegression    y ~ N(X w, s^2 I),  w ~ N(0, p^2 I):   Z = N(y; 0, s^2 I + p^2 X X^T)
           LogisticRegression  y_i in {0, 1} with odds e^{(X w)_i},  w ~ N(0, p^2 I)
Symbols    X -> x, s -> noise, p -> prior
Cost       O(n d) an evaluation
Source     the data come with scikit-learn: diabetes (442 patients), breast-cancer (569), wine (two kinds, 130)
Fails      log Z of the logistic posterior is not known in closed form: None
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core.checks import known
from ..core.errors import InputError, choose
from .density import AbstractDensity


class LinearRegression(AbstractDensity):
    """Posterior of the weights, times the evidence: `log_prob` is log likelihood plus log prior.

    Fields:
        x: predictors; include a column of ones for an intercept.
        y: responses.
        noise: standard deviation of the responses about the line.
        prior: standard deviation of each weight.
    """

    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    noise: float = eqx.field(static=True, default=1.0)
    prior: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check(self, noise=self.noise, prior=self.prior)

    @property
    def event(self):
        """(d,)."""
        return self.x.shape[1:]

    def log_prob(self, x):
        """log p(y | w) + log p(w), both normalised."""
        residual = self.y - self.x @ x
        return _normal(residual, self.noise) + _normal(x, self.prior)

    @property
    def log_z(self):
        """The evidence: y is Gaussian with covariance s^2 I + p^2 X X^T."""
        x, y = np.asarray(self.x, float), np.asarray(self.y, float)
        cov = self.noise**2 * np.eye(len(y)) + self.prior**2 * x @ x.T
        sign_log = np.linalg.slogdet(2 * np.pi * cov)[1]
        return jnp.asarray(-0.5 * (sign_log + y @ np.linalg.solve(cov, y)))

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """(X^T X / s^2 + I / p^2)^{-1}."""
        x = np.asarray(self.x, float)
        return jnp.asarray(np.linalg.inv(x.T @ x / self.noise**2 + np.eye(x.shape[1]) / self.prior**2))

    @property
    def mean(self) -> Float[Array, " d"]:
        """The posterior mean."""
        return self.covariance @ (self.x.T @ self.y) / self.noise**2

    def sample(self, key, n):
        """Exact draws of the posterior."""
        root = jnp.linalg.cholesky(self.covariance)
        return self.mean + jax.random.normal(key, (n, root.shape[0]), root.dtype) @ root.T


class LogisticRegression(AbstractDensity):
    """Posterior of the weights of a logistic regression, times the evidence.

    Fields:
        x: predictors; include a column of ones for an intercept.
        y: 0 or 1.
        prior: standard deviation of each weight.
    """

    x: Float[Array, "n d"]
    y: Float[Array, " n"]
    prior: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check(self, prior=self.prior)
        if (y := known(self.y)) is not None and not ((y == 0) | (y == 1)).all():
            raise InputError("LogisticRegression: y has values other than 0 and 1")

    @property
    def event(self):
        """(d,)."""
        return self.x.shape[1:]

    def log_prob(self, x):
        """log p(y | w) + log p(w), both normalised."""
        logits = self.x @ x
        return jnp.sum(self.y * logits - jax.nn.softplus(logits)) + _normal(x, self.prior)


def posterior(name: str, *, prior: float = 1.0, noise: float = 0.7) -> LinearRegression | LogisticRegression:
    """A posterior of real data, with standardised predictors and an intercept as the last weight.

    Args:
        name: `diabetes` (linear, d = 11), `breast-cancer` (logistic, d = 31) or `wine` (logistic, d = 14).
        prior: standard deviation of each weight.
        noise: of the responses, in units of their standard deviation; of linear models only.

    Raises:
        InputError: for another name, or without scikit-learn.
    """
    choose("posterior", name, ("breast-cancer", "diabetes", "wine"))
    try:
        from sklearn import datasets
    except ImportError as error:
        raise InputError(f"{name!r} comes with scikit-learn: pip install 'thalweg[data]'") from error
    load = {
        "diabetes": datasets.load_diabetes,
        "breast-cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
    }
    x, y = load[name](return_X_y=True)
    x, y = (x[y < 2], y[y < 2]) if name == "wine" else (x, y)
    x = np.concatenate([(x - x.mean(0)) / x.std(0), np.ones((len(x), 1))], axis=1)
    x = jnp.asarray(x, float)
    if name == "diabetes":
        return LinearRegression(x, jnp.asarray((y - y.mean()) / y.std(), float), noise, prior)
    return LogisticRegression(x, jnp.asarray(y, float), prior)


def _normal(z, std):
    return -0.5 * jnp.sum(z**2) / std**2 - z.size * (np.log(std) + 0.5 * np.log(2 * np.pi))


def _check(model, **positive):
    owner = type(model).__name__
    if model.x.shape[0] != model.y.shape[0]:
        raise InputError(f"{owner}: got {model.x.shape[0]} rows of x and {model.y.shape[0]} of y; expected as many")
    for name, value in positive.items():
        if not value > 0:
            raise InputError(f"{owner}({name}={value}): expected more than 0")
