"""How is all of this used without writing Python?

    thalweg fit --target digits --condition label --out runs/digits      learn
    thalweg sample runs/digits --n 1000 --sde 0.5                        draw, by ODE or SDE
    thalweg report runs/digits                                           certify, and see
    thalweg compare runs/digits digits                                   distances, with errors and units
    thalweg sample-density target.py:log_prob --dim 5 --out runs/target  log Z with an error bar, draws
    thalweg papers 2303.08797                                            what is implemented where
    thalweg reproduce all                                                the papers' claims, recomputed

Data are files (`.npy`, `.npz`, `.csv`, `.tsv`, `.parquet`, `.h5ad`) or data sets by name (`digits`, `checkerboard:2000`
for 2000 points). Every command takes `--json`; progress goes to standard error, results to standard output. Exit
status: 0 done, 1 a run or a claim that failed, 2 bad input (one line says what, and what to do), 130 stopped by Ctrl-C
(`fit --resume RUN` goes on to the same numbers).

| answers | file |
|---|---|
| the commands and their options | `app.py` |
| errors, interruptions, exit status | `endings.py` |
| from options to a trained run | `fit.py` |
| draws from a run | `sample.py` |
| a log density in a file, and the options of all ways to sample it | `target.py` |
| draws and log Z of a log density | `density.py` |
| draws of it by chains, and their verdict | `chains.py` |
| the certificate and the page | `certificate.py` |
| distances | `compare.py` |
| reproductions | `claims.py` |
| data by file or name, and the split | `data.py` |
| readers and writers | `files.py` |
| the run directory | `rundir.py` |
| tables and JSON | `tables.py` |
"""

from .app import app, main

__all__ = ["app", "main"]
