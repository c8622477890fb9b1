"""What did a run learn, and can it be trusted, at one look?

    evidence = gather(flow, held_out, train, key=key)
    page = render(evidence, certify(flow, held_out, train, key=key).as_dict(), Record("my data"))

The page is one HTML file: plots, pictures, animations and the certificate, in light and dark, with nothing loaded from
elsewhere.

| answers | name | file |
|---|---|---|
| what is drawn | `gather`, `Evidence`, `Draws`, `Plane`, `Record`, `is_image` | `evidence.py` |
| plots that follow the theme | `training_figure`, `samples_figure`, `trajectories_figure`, `to_svg` | `figures.py` |
| two samples in one picture | `compare_figure` | `figures.py` |
| paths of rare transitions, there and back | `transition_figure` | `paths.py` |
| grids of images | `grid`, `png`, `data_uri`, `sample_png` | `pictures.py` |
| the page of a transport, and the frame of all pages | `render` | `page.py` |
| a sampled density: its page, draws in groups | `render_density`, `DensityRun`, `Drawn` | `density.py` |
| Markov chains: their page, traces | `render_chains`, `ChainsRun`, `trace_figure` | `chains.py` |
"""

from .chains import ChainsRun, render_chains, trace_figure
from .density import DensityRun, Drawn, render_density
from .evidence import Draws, Evidence, Plane, Record, gather, is_image
from .figures import compare_figure, samples_figure, to_svg, training_figure, trajectories_figure
from .page import render
from .paths import transition_figure
from .pictures import data_uri, grid, png, sample_png

__all__ = [
    "ChainsRun",
    "DensityRun",
    "Drawn",
    "Draws",
    "Evidence",
    "Plane",
    "Record",
    "compare_figure",
    "data_uri",
    "gather",
    "grid",
    "is_image",
    "png",
    "render",
    "render_chains",
    "render_density",
    "sample_png",
    "samples_figure",
    "to_svg",
    "trace_figure",
    "training_figure",
    "trajectories_figure",
    "transition_figure",
]
