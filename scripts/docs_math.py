"""An MkDocs hook: the formulas of a finished page, from LaTeX to MathML.

`pymdownx.arithmatex` finds `$...$` and `$$...$$` and leaves them as text in elements of the class
`arithmatex`. Converting that text here keeps the site free of a script from elsewhere, and a formula that
cannot be read stops the build instead of appearing as source in somebody's browser.
"""

import html
import re

from math_core import LatexError, LatexToMathML
from mkdocs.exceptions import PluginError

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def to_mathml(page: str, name: str = "") -> str:
    """Replace every formula of a page."""
    converter = LatexToMathML()

    def convert(match: re.Match[str]) -> str:
        latex = html.unescape(match[3]).strip()
        try:
            return converter.convert_with_local_state(latex, displaystyle=match[2] == "[")
        except LatexError as error:
            raise PluginError(f"{name}: cannot read the formula {latex!r}\n{error}") from error

    return _FORMULA.sub(convert, page)


def on_page_content(page_html: str, page, **_) -> str:
    """Called by MkDocs for each page once its Markdown is HTML."""
    return to_mathml(page_html, page.file.src_path)
