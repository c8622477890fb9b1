"""Write docs/data/hsmm.csv, the single-cell time course of the documentation.

Answers    271 human skeletal muscle myoblasts, sequenced 0, 24, 48 and 72 hours after the switch to differentiation
           medium (Trapnell et al., Nature Biotechnology 32, 2014), as ten numbers a cell
Takes      the folder of the R package HSMMSingleCell (Artistic-2.0). Debian has it, and no R is needed:
               apt-get download r-bioc-hsmmsinglecell && dpkg -x r-bioc-hsmmsinglecell_*.deb hsmm
               pip install rdata
               python scripts/make_hsmm.py hsmm/usr/lib/R/site-library/HSMMSingleCell
Steps      log2(1 + FPKM) of the genes seen in a tenth of the cells; principal components of the cells of 0, 24 and 72
           hours. The cells of 48 hours are projected on them: they are held out, and take no part in the axes either
"""

import sys
from pathlib import Path

import numpy as np

HELD_OUT, COMPONENTS, SHARE = 48, 10, 0.1
TARGET = Path(__file__).resolve().parent.parent / "docs" / "data" / "hsmm.csv"


def main(package: Path) -> None:
    """Read the matrix and the sample sheet, and write one row a cell."""
    import rdata

    genes = rdata.read_rda(package / "data" / "HSMM_expr_matrix.rda")["HSMM_expr_matrix"]
    sheet = rdata.read_rda(package / "data" / "HSMM_sample_sheet.rda")["HSMM_sample_sheet"]
    cells = [str(name) for name in sheet.index]
    order = {str(name): i for i, name in enumerate(np.asarray(genes.coords[genes.dims[1]]))}
    fpkm = np.asarray(genes, float).T[[order[name] for name in cells]]
    hours = np.asarray(sheet["Hours"]).astype(str).astype(int)

    x = np.log2(1 + fpkm[:, (fpkm > 0).mean(axis=0) >= SHARE])
    seen = hours != HELD_OUT
    mean = x[seen].mean(axis=0)
    _, _, axes = np.linalg.svd(x[seen] - mean, full_matrices=False)
    axes = axes[:COMPONENTS]
    # A singular vector has no sign of its own: its largest entry is made positive.
    axes *= np.sign(axes[np.arange(COMPONENTS), np.abs(axes).argmax(axis=1)])[:, None]
    scores = (x - mean) @ axes.T

    TARGET.parent.mkdir(parents=True, exist_ok=True)
    header = ",".join(["hours", *(f"pc{i + 1}" for i in range(COMPONENTS))])
    rows = [f"{h}," + ",".join(f"{v:.3f}" for v in row) for h, row in zip(hours, scores, strict=True)]
    TARGET.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {len(rows)} cells, {x.shape[1]} genes")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "data").is_dir():
        sys.exit(
            "usage: python scripts/make_hsmm.py FOLDER, the folder of the R package HSMMSingleCell; see the docstring"
        )
    main(Path(sys.argv[1]))
