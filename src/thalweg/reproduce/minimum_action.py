"""Minimum action paths of nonequilibrium phase transitions (2202.06936), and of systems whose answer is known.

Setting    double precision; S with the sum over sites as its measure (an integral over space where said), noise a = 2
           on every site; rate ~ e^{-S/eps}. Every path is the best of random first paths, kicked when at rest
Exact      linear drift that is far from normal, double well, Maier-Stein below its bifurcation, Allen-Cahn on a ring
           (by its first integral), Schlogl in one volume (an integral of logarithms), two sites without coupling
Baselines  the string method's path (the relaxation path), whose action must not be lower; paths of one value in space
Note       the paper prints no actions: the two-site numbers beside ours are of another code,
           in NumPy: 100 segments of the same functional
Seeds      the key of the first paths
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad
from scipy.linalg import solve_continuous_lyapunov
from scipy.optimize import brentq

from ..core import StatusError, solve
from ..processes import Grid
from ..rare import (
    AllenCahn,
    Cell,
    Crossing,
    Geometric,
    GinzburgLandau,
    Gradient,
    Schlogl,
    SmallNoise,
    String,
    evaluate,
    eyring_kramers,
    fixed_point,
    follow,
    grid_process,
    phase_boundary,
    search,
)
from .claims import Claim, Reproduction, Stopwatch

# What another code found for two sites: kappa = .26 up and down, .26 up from a straight start.
UP, DOWN, PINNED, TOLERANCE = 0.3020, 0.7119, 0.3564, 1e-3
# An error below this share of an action is that of the descent, and tells nothing of the nodes.
FLOOR = 1e-6
KEY = jax.random.key(0)


def minimum_action_paths(short: bool = False) -> Reproduction:
    """Exact actions with their order, the two-site crossings, nucleation, Schlogl there and back, phase boundaries."""
    clock = Stopwatch()
    with jax.enable_x64(True):
        # Compiling is most of the time: the short form keeps what needs few different shapes.
        claims = [*_exact(short), *_two_sites(short), *_schlogl_volume()]
        for part in [] if short else [_nucleation, _schlogl_ring, _diagram, _rates]:
            claims += _told(part)
    claims.append(Claim("phase diagrams of the paper's sizes, up to 128 sites", "figures", "not run", "", None))
    return clock.done("minimum-action", claims)


def _told(part):
    """The claims of one part; a descent that does not end is a claim that does not hold."""
    claims = []
    try:
        claims.extend(part())
    except StatusError as error:
        name = part.__name__.strip("_").replace("_", " ")
        claims.append(Claim(f"{name}: every descent ends", "", str(error).splitlines()[0], "", False))
    return claims


def _best(problem, segments, tries=2, relax=None, key=KEY):
    # A nucleus may lie anywhere on the ring: that direction is flat, and not worth following to the end.
    method = Geometric(segments, tolerance=None if relax is None else 1e-6)
    return search(method, problem, tries=tries, max_steps=4000, key=key, relax=relax).best


def _exact(short):
    matrix, noise = np.asarray([[-1.0, 2.5], [0.1, -1.4]]), np.asarray([[1.0, 0.3], [0.3, 0.4]])
    end = np.asarray([0.9, 1.6])
    covariance = solve_continuous_lyapunov(matrix, -noise)
    linear = Crossing(SmallNoise(lambda x: jnp.asarray(matrix) @ x, noise), np.zeros(2), end, free_end=True)
    yield _ordered("linear drift, far from normal", linear, 0.5 * end @ np.linalg.solve(covariance, end), short)
    if short:
        return
    double = lambda x: (x[0] ** 2 - 1) ** 2 + 0.3 * x[0] + 2 * (x[1] - 0.5 * x[0]) ** 2  # noqa: E731
    well = Gradient(potential_fn=double, noise=1.0)
    low, top, high = (fixed_point(well, np.asarray(x)) for x in ([-1.0, -0.5], [0.1, 0.0], [1.0, 0.5]))
    barrier = 2 * float(well.potential(top) - well.potential(low))
    yield _ordered("double well, S = 2 dV", Crossing(well, low, high), barrier, short)
    for beta in (3.0, 10.0):
        system = SmallNoise(_MaierStein(jnp.asarray(beta)), 1.0)
        problem = Crossing(system, np.asarray([-1.0, 0.0]), np.asarray([1.0, 0.0]))
        fine = 0.5 if beta <= 4 else float(_best(problem, 400).action)
        name = f"Maier-Stein, beta = {beta:g}" + (", against 400 segments" if beta > 4 else ", where the axis is best")
        yield _ordered(name, problem, fine, short)


class _MaierStein(eqx.Module):
    """The drift, with its parameter as a number that is not compiled in."""

    beta: jax.Array

    def __call__(self, x):
        return jnp.stack([x[0] - x[0] ** 3 - self.beta * x[0] * x[1] ** 2, -(1 + x[0] ** 2) * x[1]])


def _ordered(name, problem, truth, short):
    """The error at rising numbers of segments, and its order."""
    segments = np.asarray([20, 40] if short else [20, 40, 80, 160])
    found = [float(_best(problem, int(n)).action) for n in segments]
    errors = np.abs(np.asarray(found) - truth)
    if errors.max() < FLOOR * truth:
        order, falls = f"error below {FLOOR:g} of it at every n", True
    else:
        slope = -np.polyfit(np.log(segments), np.log(np.maximum(errors, 1e-15)), 1)[0]
        order, falls = f"order {slope:.2f}", slope > 1.7
    return Claim(
        f"{name}: S, and an error that falls as n^-2 or faster",
        f"{truth:.6f}",
        f"{found[-1]:.6f} at n = {segments[-1]}, {order}",
        f"{found[0]:.6f} at n = {segments[0]}",
        bool(errors[-1] < 1e-3 * truth and falls),
    )


def _sites(kappa, sites=2):
    system = GinzburgLandau(kappa)
    low, high = (np.full(sites, float(x)) for x in system.phases())
    return Crossing(system, low, high)


def _two_sites(short):
    n = 60 if short else 100
    problem = _sites(0.26)
    up, down = _best(problem, n), _best(problem.reversed(), n)
    pinned = solve(Geometric(n, bend=0.0), problem, max_steps=2000, key=KEY).value
    where = "modified Ginzburg-Landau, 2 sites, kappa .26"
    for name, got, truth in (("up", up, UP), ("down", down, DOWN), ("up from a straight start", pinned, PINNED)):
        yield Claim(
            f"{where}: S {name}", f"{truth:.4f} ± .001 (another code)", f"{float(got.action):.5f}", "",
            bool(abs(float(got.action) - truth) < TOLERANCE),
        )  # fmt: skip
    spread = [float(jnp.max(jnp.ptp(t.path, axis=1))) for t in (up, down)]
    saddle = np.sort(np.asarray(fixed_point(problem.system, up.transition_state)))
    yield Claim(
        f"{where}: forward and backward mechanisms differ",
        "they do",
        f"largest difference of the sites: up {spread[0]:.3f}, through ({saddle[0]:.4f}, {saddle[1]:.4f})",
        f"down {spread[1]:.3f}",
        bool(spread[0] > 10 * spread[1]),
    )
    relaxed = solve(String(0.05, n), problem, max_steps=4000, key=KEY).value
    upper = float(evaluate(problem.system, relaxed.path).action)
    yield Claim(
        f"{where}: the relaxation path is not the likeliest way up",
        "higher action", f"{float(up.action):.5f}", f"string {upper:.5f}", bool(upper > float(up.action) + 1e-4),
    )  # fmt: skip
    free = _sites(0.0)
    truth = 0.5 - 0.5 * (1 - 0.8) ** 2
    both = [float(_best(way, n).action) for way in (free, free.reversed())]
    yield Claim(
        "Ginzburg-Landau, 2 sites, kappa 0: both ways cost the same",
        f"{truth:.4f} (closed form)", f"{both[0]:.5f}, {both[1]:.5f}", "homogeneous .5",
        bool(max(abs(b - truth) for b in both) < TOLERANCE),
    )  # fmt: skip


def _root(fn, low, high) -> float:
    return float(np.asarray(brentq(fn, low, high)))


def nucleus(length: float, diffusion: float) -> float:
    """The barrier of Allen-Cahn on a ring longer than 2 pi sqrt(D): one wave from -m to m, by its first integral."""
    # u = m sin(angle), and the well at u less that at m is m^2 cos^2 (2 - m^2 - u^2) / 4.
    root = lambda q, m: np.sqrt((2 - m * m - (m * np.sin(q)) ** 2) / (2 * diffusion))  # noqa: E731
    half = lambda fn: 2 * quad(fn, -np.pi / 2, np.pi / 2, limit=200)[0]  # noqa: E731
    m = _root(lambda m: half(lambda q: 1 / root(q, m)) - length, 1e-6, 1 - 1e-9)
    wave = half(lambda q: (m * np.cos(q)) ** 2 * root(q, m))
    return 0.25 * (1 - m * m) ** 2 * length + diffusion * wave


def _nucleation():
    length, diffusion, sizes = 3.0, 0.05, (16, 32, 64)
    truth, found = nucleus(length, diffusion), []
    for sites in sizes:
        system = AllenCahn(0.0, diffusion, length / sites, measure=Cell(length / sites))
        problem = Crossing(system, np.full(sites, -1.0), np.full(sites, 1.0))
        found.append(float(_best(problem, 80, tries=1, relax=String(0.2, 80, tolerance=1e-3)).action))
    yield Claim(
        f"Allen-Cahn on a ring of length {length:g}, D {diffusion:g}: S of the nucleus, integral over space",
        f"{truth:.5f} (elliptic integrals)",
        ", ".join(f"{s:.5f}" for s in found) + " at " + ", ".join(str(n) for n in sizes) + " sites",
        f"all at once {length / 4:g}",
        bool(abs(found[-1] - truth) < 0.005 * truth),
    )


def _apart(one, other):
    """The farthest that a node of one path is from the other, relative to the distance of their ends."""
    a, b = (np.asarray(t.path).reshape(t.path.shape[0], -1) for t in (one, other))
    far = np.linalg.norm(a[:, None] - b[None], axis=-1).min(1).max()
    return float(far / np.linalg.norm(a[-1] - a[0]))


def _climbs():
    """The two homogeneous states with what one volume pays to leave each, an integral of logarithms."""
    single = Schlogl(diffusion=0.0)
    low, middle, high = (float(x) for x in single.phases())
    ratio = lambda x: np.log(float(single.deaths(jnp.asarray(x)) / single.births(jnp.asarray(x))))  # noqa: E731
    return {"up": (low, high, quad(ratio, low, middle)[0]), "down": (high, low, quad(ratio, high, middle)[0])}


def _schlogl_volume():
    for name, (start, end, truth) in _climbs().items():
        problem = Crossing(Schlogl(diffusion=0.0), np.asarray([start]), np.asarray([end]))
        own = float(solve(Geometric(60), problem, max_steps=2000, key=KEY).value.action)
        holds = abs(own - truth) < 2e-3 * truth
        yield Claim(f"Schlogl, one volume, {name}: S", f"{truth:.6f} (integral)", f"{own:.6f}", "", bool(holds))


def _schlogl_ring():
    sites, diffusion, n = 40, 11.0, 80
    ways, climbs = {}, _climbs()
    for name, (start, end, truth) in climbs.items():
        problem = Crossing(Schlogl(diffusion=diffusion), np.full(sites, start), np.full(sites, end))
        ways[name] = _best(problem, n, tries=1, relax=String(0.5, n, tolerance=1e-3))
        action, bulk = float(ways[name].action), sites * truth
        yield Claim(
            f"Schlogl, {sites} volumes, D {diffusion:g}, {name}: no more than all at once",
            f"at most {bulk:.5f}", f"{action:.5f}", f"all at once {bulk:.5f}", bool(action < bulk * (1 + 1e-3)),
        )  # fmt: skip
    apart = max(_apart(ways["up"], ways["down"]), _apart(ways["down"], ways["up"]))
    yield Claim(
        f"Schlogl, {sites} volumes: the way back is another path",
        "they differ", f"{apart:.3f} of the distance apart at most", "0 for a gradient system", bool(apart > 0.01),
    )  # fmt: skip


def _diagram():
    """Which phase is the stable one: a sweep of two sites, and the boundary of Schlogl's reactions."""
    values = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    ways = [[_sites(k) for k in values], [_sites(k).reversed() for k in values]]
    up, down = ([float(t.action) for t in follow(Geometric(60), way, max_steps=4000, key=KEY)] for way in ways)
    gap = np.asarray(up) - np.asarray(down)
    yield Claim(
        "Ginzburg-Landau, 2 sites: kappa > 0 makes the upper phase the stable one, more so as it grows",
        "boundary at kappa = 0, by symmetry",
        "S up - S down: " + ", ".join(f"{g:+.3f}" for g in gap) + " at kappa " + ", ".join(f"{k:g}" for k in values),
        "",
        bool(abs(gap[0]) < TOLERANCE and (np.diff(gap) < 0).all()),
    )

    def crossing(k0, sites, diffusion):
        system = Schlogl((k0, 2.9, 3.1, 1.0), diffusion)
        low, _, high = (np.full(sites, float(x)) for x in system.phases())
        return Crossing(system, low, high)

    def mixed(k0):
        low, _, high = (float(x) for x in Schlogl((k0, 2.9, 3.1, 1.0)).phases())
        return quad(lambda x: np.log((2.9 * x + x**3) / (k0 + 3.1 * x * x)), low, high)[0]

    truth = _root(mixed, 0.79, 0.83)
    one = phase_boundary(Geometric(40), lambda k: crossing(k, 1, 0.0), 0.79, 0.83, key=KEY, tolerance=1e-5, tries=1)
    yield Claim(
        "Schlogl, one volume: k0 where both phases are equally stable",
        f"{truth:.5f} (integral)", f"{float(one.parameter):.5f}", "", bool(abs(float(one.parameter) - truth) < 1e-4),
    )  # fmt: skip
    sites = 16
    reactions = _root(lambda k: quad(lambda x: k + 3.1 * x * x - 2.9 * x - x**3, *_ends(k))[0], 0.77, 0.83)
    low, high, found = min(truth, reactions), max(truth, reactions), []
    for diffusion in (0.1, 0.4, 1.6):
        got = phase_boundary(
            # As in `_best`: where along the ring is flat.
            Geometric(60, tolerance=1e-6), lambda k, d=diffusion: crossing(k, sites, d), 0.78, 0.83, key=KEY,
            tolerance=1e-5, tries=1, relax=String(0.3, 60, tolerance=1e-3), max_steps=4000,
        )  # fmt: skip
        found.append(float(got.parameter))
    yield Claim(
        f"Schlogl, {sites} volumes: the boundary moves with D, between one volume's and the rate equation's",
        f"{truth:.5f} as D -> 0, {reactions:.5f} for fronts",
        ", ".join(f"{k:.5f}" for k in found) + " at D .1, .4, 1.6",
        "",
        bool(all(low - 1e-4 < k < high + 1e-4 for k in found) and np.ptp(found) > 1e-4),
    )


def _ends(k0):
    low, _, high = (float(x) for x in Schlogl((k0, 2.9, 3.1, 1.0)).phases())
    return low, high


def _rates():
    """The next order: mean passage times on a grid over the formula, extrapolated to no noise."""
    double = lambda x: 0.5 * (x[0] ** 2 - 1) ** 2 + 0.1 * x[0] + 0.8 * (x[1] - 0.4 * x[0]) ** 2  # noqa: E731
    well = Gradient(potential_fn=double)
    low, top, high = (fixed_point(well, np.asarray(x)) for x in ([-1.0, -0.4], [0.05, 0.0], [1.0, 0.4]))
    ratios = []
    for eps in (0.08, 0.04):
        grid = grid_process(well, Grid((-1.9, -1.8), (1.9, 1.8), (160, 120)), eps)
        time = grid.passage_time(lambda x: jnp.sum((x - high) ** 2) < 0.1)
        ratios.append(float(grid.grid.between(time, low)) * float(eyring_kramers(well, low, top, eps).rate))
    limit = 2 * ratios[1] - ratios[0]
    yield Claim(
        "prefactor of Eyring and Kramers: time on a grid times its rate, as eps -> 0",
        "1", f"{limit:.4f}", f"{ratios[0]:.4f}, {ratios[1]:.4f} at eps .08, .04", bool(abs(limit - 1) < 0.02),
    )  # fmt: skip
