"""The shapes that every signature speaks of.

`Point` is one event of any shape, `Cloud` a leading axis of `n` of them, `Time` a scalar in [0, 1] (0 is the
base, 1 is the data, in every room).
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

Key = PRNGKeyArray
Point = Float[Array, "*event"]
Cloud = Float[Array, "n *event"]
Time = Float[Array, ""]
Times = Float[Array, " k"]
Scalar = Float[Array, ""]
FieldFn = Callable[..., Any]
