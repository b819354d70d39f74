"""MkDocs hooks: pages from outside docs/, and links that work both in the repository and on the site.

Pages link to each other by their paths in the repository, so that they can be read there. On the site the files in
`OUTSIDE` are pages as well, notebooks with their outputs, and the home page repeats sections of the README in place of
lines such as `<!-- README.md: Install -->`.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = {
    "README.md": "about.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "CITATION.cff": "CITATION.cff",
    "benchmarks/RESULTS.md": "reference/benchmarks.md",
    "examples/course_report.ipynb": "examples/course_report.md",
    "examples/score_and_explain.ipynb": "examples/score_and_explain.md",
}
"""Files outside docs/, and their pages on the site."""

LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for name, page in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        if name.endswith(".ipynb"):
            text, images = notebook_page(json.loads(text), Path(name).stem)
            for image, content in images.items():
                files.append(File.generated(config, f"{posixpath.dirname(page)}/{image}", content=content))
        files.append(File.generated(config, page, content=relink(text, name, page)))
    return files


def notebook_page(notebook: Mapping[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its images by file name."""
    parts: list[str] = []
    images: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for kind, content in shown(cell["outputs"]):
            if kind == "image/png":
                image = f"{name}-{len(images) + 1}.png"
                images[image] = base64.b64decode(content)
                parts.append(f"![Figure {len(images)}]({image})")
            elif kind == "text/html":
                parts.append(restyled(content))
            else:
                parts.append(f"```text\n{content.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", images


def restyled(html: str) -> str:
    """Return the table of a DataFrame in the style of the site."""
    if 'class="dataframe"' not in html:
        return html
    html = re.sub(r"<style scoped>.*?</style>", "", html, flags=re.DOTALL)
    return re.sub(r' (?:border="1" class="dataframe"|style="text-align: right;")', "", html)


def shown(outputs: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the richest form of each output that a page can show, with its MIME type."""
    for output in outputs:
        forms = output.get("data", {"text/plain": output.get("text", "")})
        kind = next(kind for kind in ("image/png", "text/html", "text/plain") if kind in forms)
        yield kind, "".join(forms[kind])


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Insert the sections of the README, and adapt the links of a page in docs/."""
    here = page.file.src_uri
    if here in OUTSIDE.values():
        return markdown
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(
        r"^<!-- README\.md: (.+) -->$",
        lambda found: relink(section(readme, found[1]), "README.md", here),
        relink(markdown, f"docs/{here}", here),
        flags=re.MULTILINE,
    )


def relink(markdown: str, source: str, page: str) -> str:
    """Return the text of the file `source` with links that are right on the site's page `page`."""

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        target = OUTSIDE.get(target, target.removeprefix("docs/"))
        return link[1] + posixpath.relpath(target, posixpath.dirname(page) or ".")

    return LINK.sub(on_site, markdown)


def section(readme: str, heading: str) -> str:
    """Return what the README has under a heading of level 2; `introduction` is what precedes the first of them."""
    parts = re.split(r"^## (.+)\n", readme, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    sections["introduction"] = parts[0].partition("\n")[2]
    if heading not in sections:
        raise PluginError(f"README.md has no section {heading!r}; docs/index.md repeats it")
    return sections[heading].strip()
