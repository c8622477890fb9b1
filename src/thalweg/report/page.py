"""The page: one HTML file that needs nothing else, in light and dark.

Answers    what a reader of a run wants to see, in this order: can it be trusted, how does it move, what does it make,
           how was it trained, and how is it made again
Holds      plots as inline SVG, pictures and animations as data inside the file; no address outside it is asked for
"""

import base64
import html
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from .evidence import Draws, Evidence, Record
from .figures import samples_figure, training_figure, trajectories_figure
from .pictures import data_uri, grid

MARKS = {True: ("pass", "✓ holds"), False: ("fail", "✗ fails"), None: ("none", "– not tested")}


def render(evidence: Evidence, certificate: dict[str, Any], record: Record) -> str:
    """The whole page.

    Args:
        evidence: what `gather` drew.
        certificate: `Certificate.as_dict()`.
        record: what was run.
    """
    sections = [_verdict(certificate), _motion(evidence), _samples(evidence), _certificate(certificate)]
    sections += [_trajectories(evidence), _training(evidence), section("What was run", "", facts(record))]
    lede = f"{record.facts['from']} → {record.facts['to']}" if {"from", "to"} <= set(record.facts) else ""
    return document(record, lede, sections)


def document(record: Record, lede: str, sections: list[str]) -> str:
    """The frame of every page: head, title, one line below it, the sections in order."""
    style, script = (
        files("thalweg.report").joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    title = html.escape(record.title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="thalweg {html.escape(record.versions.get("thalweg", ""))}">
<link rel="icon" href="data:,">
<title>{title} – thalweg report</title>
<style>
{style}</style>
</head>
<body>
<header class="top">
<div><p class="over">thalweg report</p><h1>{title}</h1><p class="lede">{html.escape(lede)}</p></div>
<button id="theme" type="button" aria-label="Change between light and dark">Dark</button>
</header>
<main>
{"".join(sections)}
</main>
<footer><p>Made by <code>thalweg report</code>. Nothing on this page is loaded from elsewhere.</p></footer>
<script>
{script}</script>
</body>
</html>
"""


def _verdict(certificate):
    good = bool(certificate["holds"])
    passed = sum(c["holds"] is True for c in certificate["checks"])
    made = sum(c["holds"] is not None for c in certificate["checks"])
    head = f"✓ {passed} of {made} checks hold" if good else f"✗ {made - passed} of {made} checks fail"
    about = f"Measured on {certificate['held_out']} points that it was not trained on."
    return f"""<section class="verdict{"" if good else " fails"}" aria-label="Verdict">
<p class="head">{head}</p>
<p>{html.escape(certificate["verdict"])}</p>
<p class="note">{about}</p>
</section>
"""


def _certificate(certificate):
    rows = []
    for check in certificate["checks"]:
        kind, text = MARKS[check["holds"]]
        value = "–" if check["value"] is None else f"{check['value']:.4g}"
        if check["value"] is not None and check["stderr"] is not None:
            value += f" ± {check['stderr']:.2g}"
        held = "–" if check["reference"] is None else f"{check['reference']:.4g}"
        rows.append(
            f'<tr><td><span class="mark {kind}">{text}</span></td><th scope="row">{html.escape(check["name"])}</th>'
            f'<td class="number">{value}<small>{html.escape(check["unit"])}</small></td>'
            f'<td class="number">{held}<small>{html.escape(check["against"])}</small></td>'
            f"<td>{html.escape(check['words'])}</td></tr>"
        )
    head = "".join(f'<th scope="col">{h}</th>' for h in ("", "check", "value", "held against", "in words"))
    return section(
        "Certificate",
        "How far to trust it, on data that it has not seen. Each number has its standard error, and something to be "
        "held against.",
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>',
    )


def _samples(evidence):
    sets = {"held-out data": (evidence.held_out, evidence.held_out_labels)}
    sets |= {f"samples, {name}": (d.samples, d.labels) for name, d in evidence.draws.items()}
    parts = []
    if evidence.image:
        limits = (float(evidence.held_out.min()), float(evidence.held_out.max()))
        figures = [_picture(name, *_chosen(x, c, evidence), limits) for name, (x, c) in sets.items()]
        parts.append(f'<div class="row">{"".join(figures)}</div>')
    word = "densities" if len(evidence.plane.names) == 1 else "scatter plots"
    alt = f"{word} of the held-out data and of samples by {' and '.join(evidence.draws)}"
    where = "along " + " and ".join(evidence.plane.names) + " of the data"
    parts.append(plot(alt, samples_figure(evidence), f"Held-out data and samples {where}."))
    labelled = ", a row a label" if evidence.image and evidence.label_names else ""
    return section("Samples", f"What it makes, beside data that it was not trained on{labelled}.", "".join(parts))


def _chosen(x, labels, evidence) -> tuple[np.ndarray, int]:
    """Images to show and how many a row: ten of each label, or eighty of any."""
    if labels is None or evidence.label_names is None or not 2 <= len(evidence.label_names) <= 12:
        return x[:80], 10
    rows = [x[labels == i][:10] for i in range(len(evidence.label_names))]
    width = min((len(r) for r in rows if len(r)), default=1)
    return np.concatenate([r[:width] for r in rows if len(r)]), width


def _picture(name, images, columns, limits):
    kind = "pixels" if images.ndim == 4 and images.shape[-1] == 3 else "pixels ink"
    alt = html.escape(f"{len(images)} images: {name}")
    uri = data_uri(grid(images, columns, limits=limits))
    return f'<figure><figcaption>{html.escape(name)}</figcaption><img class="{kind}" alt="{alt}" src="{uri}"></figure>'


def _trajectories(evidence):
    text = "The same samples on their way: the ODE's paths are smooth"
    text += ", the SDE's are rough; both end in one distribution." if evidence.sde is not None else "."
    if not evidence.image:
        alt = f"paths of samples from base to data by {' and '.join(evidence.draws)}"
        return section("Trajectories", text, plot(alt, trajectories_figure(evidence), ""))
    limits = (float(evidence.held_out.min()), float(evidence.held_out.max()))
    strips = []
    for name, draws in evidence.draws.items():
        at = np.unique(np.linspace(0, len(draws.times) - 1, 10).round().astype(int))
        images = np.swapaxes(draws.paths[at][:, :6], 0, 1).reshape(-1, *evidence.event)
        strips.append(_picture(f"{name}: t = 0 to 1, left to right", images, len(at), limits))
    return section("Trajectories", text, f'<div class="row strips">{"".join(strips)}</div>')


def _motion(evidence):
    """The animations, with one slider for all of them."""
    make: Callable = _image_film if evidence.image else _point_film
    films = []
    for i, (name, draws) in enumerate(evidence.draws.items()):
        film, (width, height) = make(evidence, draws)
        film["colour"] = ("--ode", "--sde")[i]
        alt = html.escape(f"animation of samples moving from base to data by {name}")
        films.append(
            f'<figure><figcaption>{html.escape(name)}</figcaption><canvas class="pixels" data-film="film-{i}" '
            f'width="{width}" height="{height}" role="img" aria-label="{alt}"></canvas>'
            f'<script type="application/json" id="film-{i}">{json.dumps(film)}</script></figure>'
        )
    player = (
        '<div class="player"><button id="play" type="button">Play</button>'
        '<input id="time" type="range" min="0" max="1" step="any" value="1" aria-label="time">'
        '<output id="time-shown" for="time">t = 1.00</output></div>'
    )
    return section(
        "From base to data",
        "Time runs from 0 to 1. One model, two ways of running it." if len(films) > 1 else "Time runs from 0 to 1.",
        f'<div class="row">{"".join(films)}</div>{player}',
    )


def _point_film(evidence: Evidence, draws: Draws) -> tuple[dict[str, Any], tuple[int, int]]:
    frames = np.stack([evidence.plane(x) for x in draws.paths])
    every = np.concatenate([np.stack([evidence.plane(x) for x in d.paths]) for d in evidence.draws.values()])
    flat_height = frames.shape[2] == 1
    if flat_height:
        # One dimension is spread out sideways, so that particles can be told apart.
        spread = np.random.default_rng(0).uniform(-1, 1, (1, frames.shape[1], 1))
        frames = np.concatenate([frames, np.broadcast_to(spread, frames.shape)], axis=2)
    low, high = np.quantile(every.reshape(-1, every.shape[2]), [0.001, 0.999], axis=0)
    low, high = (np.concatenate([a, [b]]) if flat_height else a for a, b in ((low, -1.3), (high, 1.3)))
    if not flat_height:
        # One scale for both directions.
        middle, half = (low + high) / 2, np.max(high - low) / 2
        low, high = middle - half, middle + half
    room = 0.05 * np.maximum(high - low, 1e-9)
    scaled = np.clip((frames - low + room) / (high - low + 2 * room), 0, 1)
    data = base64.b64encode((65535 * scaled + 0.5).astype("<u2").tobytes()).decode()
    size = (900, 300) if flat_height else (900, 900)
    return {"kind": "points", "k": frames.shape[0], "n": frames.shape[1], "frames": data}, size


def _image_film(evidence: Evidence, draws: Draws) -> tuple[dict[str, Any], tuple[int, int]]:
    k, n = draws.paths.shape[:2]
    h, w = evidence.event[:2]
    channels = evidence.event[2] if len(evidence.event) == 3 else 1
    low, high = float(evidence.held_out.min()), float(evidence.held_out.max())
    scaled = np.clip((draws.paths - low) / max(high - low, 1e-12), 0, 1)
    data = base64.b64encode((255 * scaled + 0.5).astype(np.uint8).tobytes()).decode()
    columns = 10 if n >= 10 else n
    gap = max(1, round(w / 8))
    size = (columns * (w + gap) + gap, -(-n // columns) * (h + gap) + gap)
    film = {"kind": "images", "k": k, "n": n, "h": h, "w": w, "channels": channels, "columns": columns, "frames": data}
    return film, size


def _training(evidence):
    if not len(evidence.loss):
        return ""
    caption = "Faint: every step. Bold: a running mean. The loss leaves out a constant, so that it may be negative."
    alt = f"loss and gradient norm over {len(evidence.loss)} training steps"
    text = "How it was learned."
    return section("Training", text, plot(alt, training_figure(evidence), caption))


def facts(record: Record) -> str:
    """What was run, the lines that make it again, and the options, data and versions behind a fold."""
    words = "".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in record.facts.items())
    lines = html.escape("\n".join(record.commands))
    data = "".join(
        f"<tr><th scope='row'>{html.escape(k)}</th><td>{html.escape(str(v.get('name')))}</td>"
        f"<td><code>{html.escape(str(v.get('sha256', '')))}</code></td></tr>"
        for k, v in record.data.items()
    )
    versions = html.escape(", ".join(f"{k} {v}" for k, v in record.versions.items()))
    options = html.escape("  ".join(f"--{k} {v}" for k, v in record.options.items())) or "all at their defaults"
    return f"""<dl>{words}</dl>
<div class="with-button"><strong>Make it again</strong><button id="copy" type="button">Copy</button></div>
<pre id="commands" tabindex="0">{lines}</pre>
<details><summary>Options, data and versions</summary>
<p><code>{options}</code></p>
<div class="scroll"><table>
<thead><tr><th scope="col">data</th><th scope="col">name</th><th scope="col">SHA-256</th></tr></thead>
<tbody>{data}</tbody></table></div>
<p class="note">{versions}</p></details>"""


def section(title: str, text: str, body: str) -> str:
    """One card of the page: a title, a line in words, and what it holds."""
    lead = f'<p class="lede">{html.escape(text)}</p>' if text else ""
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{html.escape(title)}</h2>{lead}{body}</section>\n'


def plot(alt: str, svg: str, caption: str) -> str:
    """A figure with words for those who cannot see it, and a caption."""
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure><div class='wide'>{svg}</div>{words}</figure>"
