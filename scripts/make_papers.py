"""Write PAPERS.md: each paper, the files that implement it, their tests, and what was reproduced.

    python scripts/make_papers.py            write it
    python scripts/make_papers.py --check    say whether it is up to date (exit status 1 if not)

Nothing in the page is typed in. Papers come from the marks in the source (`thalweg.core.paper`), figures from
`reproductions/<name>.json`, which `thalweg reproduce <name>` writes:

    {"name": ..., "seconds": ...,
     "claims": [{"claim": ..., "paper": ..., "here": ..., "baseline": ..., "holds": ...}]}

`holds` is true, false, or null for a claim that cannot be tested at the size that was run.
"""

import argparse
import json
import sys
from pathlib import Path

from thalweg.core.paper import Paper, implemented

ROOT = Path(__file__).resolve().parent.parent

HEAD = """\
# Papers

Made by `make papers` from the marks in the source; do not edit by hand.

*Reproduced*: a number of the paper was recomputed here. *Checked*: tested against closed forms or another
implementation. *Sketch*: it runs, and is not yet tested to that standard.
"""


def tests_of(source: str, root: Path) -> list[str]:
    """The test of a source file (relative to `src/`), where the mirrored tree has one."""
    _, room, file = source.split("/")
    test = f"tests/{room}/test_{file}"
    return [test] if (root / test).exists() else []


def read_reproductions(root: Path) -> dict[str, dict]:
    """Every `reproductions/<name>.json`, by name."""
    found = {}
    for path in sorted((root / "reproductions").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["name"] != path.stem:
            raise ValueError(f"{path.name} says that its name is {record['name']!r}: it must be {path.stem!r}")
        found[path.stem] = record
    return found


def cell(value: object) -> str:
    """One table cell: numbers to four digits, nothing as a dash; no bar or line break may split the row."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(str(value).split()).replace("|", "\\|")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def verdict(record: dict | None) -> str:
    """How many of the claims hold, of those that could be tested."""
    if record is None:
        return "–"
    tested = [c["holds"] for c in record["claims"] if c["holds"] is not None]
    return f"{sum(tested)} of {len(tested)} claims hold"


def paper_row(paper: Paper, files: list[str], record: dict | None, root: Path) -> list[str]:
    """One paper of the main table."""
    title = f"{cell(paper.title)} ({paper.year})"
    if paper.arxiv:
        title += f" [arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})"
    if paper.eqs:
        title += f"; eqs. {cell(paper.eqs)}"
    tests = [test for file in files for test in tests_of(file, root)]
    return [
        title,
        paper.maturity,
        "<br>".join(f"`src/{file}`" for file in files),
        "<br>".join(f"`{test}`" for test in tests) or "–",
        f"`thalweg reproduce {paper.name}`" if record else "–",
        verdict(record),
    ]


def reproduction_section(name: str, record: dict) -> str:
    """The claims of one reproduction, beside what the paper says and what its baseline gives here."""
    rows = []
    for claim in record["claims"]:
        holds = "not tested at this size" if claim["holds"] is None else cell(claim["holds"])
        rows.append([cell(claim[k]) for k in ("claim", "paper", "here", "baseline")] + [holds])
    head = ["claim", "paper", "here", "baseline here", "holds"]
    return f"### {name}\n\n{table(head, rows)}\nTook {record['seconds']:.0f} s.\n"


def render(papers: dict[Paper, list[str]], reproductions: dict[str, dict], root: Path = ROOT) -> str:
    """The whole page."""
    # The certificates are the library's own aims, on real data; every other reproduction is a paper's.
    own = {name for name in reproductions if name.startswith("certificate-")}
    unknown = sorted(reproductions.keys() - {paper.name for paper in papers} - own)
    if unknown:
        raise ValueError(f"reproductions of papers that no source file is marked with: {unknown}")
    ordered = sorted(papers, key=lambda paper: (paper.title.lower(), paper.name))
    rows = [paper_row(p, sorted(papers[p]), reproductions.get(p.name), root) for p in ordered]
    head = ["paper", "maturity", "file", "test", "reproduction", "result"]
    parts = [HEAD, table(head, rows) if rows else "No source file is marked with a paper yet.\n"]
    if reproductions:
        parts.append("## Reproductions\n")
        parts += [reproduction_section(name, record) for name, record in sorted(reproductions.items())]
    return "\n".join(parts)


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description="Write PAPERS.md from the source.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if it is out of date")
    arguments = parser.parse_args()
    page, target = render(implemented(), read_reproductions(ROOT)), ROOT / "PAPERS.md"
    if not arguments.check:
        target.write_text(page, encoding="utf-8")
        return 0
    if target.exists() and target.read_text(encoding="utf-8") == page:
        return 0
    print("PAPERS.md is out of date: run `make papers`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
