"""What the commands print: tables for people, JSON for machines.

Answers    `compare`, `papers` and `reproduce` as tables; the lines of errors and results
"""

import json
from pathlib import Path
from typing import Any

from ..core.errors import InputError

KEYS = ("distance", "value", "unit", "stderr", "pvalue", "converged")


def show(title: str, columns: list[str], rows: list[list[str]], *, right: tuple[int, ...] = ()) -> None:
    """Print a table on standard output; plain and unwrapped where that is not a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, 160))
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[cell.replace("[", "\\[") for cell in row])
    console.print(table)


def number(value: float | None, stderr: float | None = None) -> str:
    """A number to four digits, with its error when it has one; a dash for none."""
    if value is None or value != value:
        return "–"
    return f"{value:.4g}" if stderr is None or stderr != stderr else f"{value:.4g} ± {stderr:.2g}"


def distance_rows(distances: list[Any]) -> list[dict[str, Any]]:
    """Distances as the JSON of `compare`."""
    return [{k: getattr(d, k) for k in KEYS} for d in distances]


def show_distances(names: tuple[str, str], rows: list[dict[str, Any]]) -> None:
    """Print the distances between two samples."""
    cells = [
        [
            r["distance"] + ("" if r["converged"] else " (not converged)"),
            number(r["value"], r["stderr"]),
            r["unit"],
            number(r["pvalue"]),
        ]
        for r in rows
    ]
    show(f"{names[0]} and {names[1]}", ["distance", "value ± standard error", "unit", "p"], cells, right=(1, 3))


def recorded(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Reproductions that were written: those in `folder`, else in ./reproductions, else beside a source checkout."""
    places = [folder] if folder else [Path("reproductions"), Path(__file__).parents[3] / "reproductions"]
    for place in places:
        found = {}
        for path in sorted(place.glob("*.json")) if place.is_dir() else []:
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                found[record["name"]] = {"seconds": record["seconds"], "claims": list(record["claims"]), **record}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is not what `thalweg reproduce` writes ({error})") from error
        if found:
            return found
    return {}


def papers(records: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every paper that the library implements, with its files and the tally of its reproduction."""
    from ..core.paper import implemented

    rows = []
    for paper, files in implemented().items():
        claims = records.get(paper.name, {}).get("claims")
        tested = None if claims is None else [c["holds"] for c in claims if c["holds"] is not None]
        rows.append(
            {
                "name": paper.name,
                "title": paper.title,
                "arxiv": paper.arxiv or None,
                "year": paper.year,
                "equations": paper.eqs or None,
                "maturity": paper.maturity,
                "files": files,
                "claims_hold": None if tested is None else sum(map(bool, tested)),
                "claims_tested": None if tested is None else len(tested),
            }
        )
    return rows


def find_papers(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The papers of one arXiv number (with or without a version) or name.

    Raises:
        InputError: when there is none, naming the nearest.
    """
    from ..core.errors import choose

    wanted = name.removeprefix("arXiv:").removeprefix("arxiv:")
    base = wanted.partition("v")[0] if wanted[:1].isdigit() else wanted
    found = [r for r in rows if base in (r["name"], r["arxiv"])]
    if not found:
        choose("paper", wanted, [r["name"] for r in rows] + [r["arxiv"] for r in rows if r["arxiv"]])
    return found


def show_papers(rows: list[dict[str, Any]]) -> None:
    """Print the table of papers."""
    cells = [
        [
            r["name"],
            r["arxiv"] or "–",
            str(r["year"]),
            r["maturity"],
            _tally(r),
            ", ".join(_short(f) for f in r["files"]),
        ]
        for r in rows
    ]
    show("", ["name", "arXiv", "year", "maturity", "claims that hold", "files"], cells)


def show_paper(row: dict[str, Any], record: dict[str, Any] | None) -> None:
    """Print one paper and the claims of its reproduction."""
    print(f"{row['title']} ({row['year']})")
    if row["arxiv"]:
        print(f"  https://arxiv.org/abs/{row['arxiv']}")
    for label, value in (
        ("equations", row["equations"]),
        ("maturity", row["maturity"]),
        ("files", ", ".join(row["files"])),
    ):
        print(f"  {label}: {value or '–'}")
    if record is None:
        print("  reproduction: none recorded")
    else:
        show_claims(record)


def show_claims(record: dict[str, Any]) -> None:
    """Print the claims of a reproduction."""
    marks = {True: "yes", False: "NO", None: "not tested at this size"}
    keys = ("claim", "paper", "here", "baseline")
    cells = [[*(_text(c.get(k)) for k in keys), marks[c["holds"]]] for c in record["claims"]]
    title = f"{record['name']} ({record['seconds']:.0f} s)"
    show(title, ["claim", "paper", "here", "baseline here", "holds"], cells)


def _text(value):
    return number(value) if isinstance(value, float) else "–" if value is None else str(value)


def _tally(row):
    return "–" if row["claims_tested"] is None else f"{row['claims_hold']} of {row['claims_tested']}"


def _short(file):
    return file.removeprefix("thalweg/")
