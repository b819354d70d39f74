"""The documentation site builds strictly, has an entry for every public name and fetches nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("fer_core", "fer_infer", "fer_train", "fer_explain")

for needed in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(needed, reason=f"the documentation site needs {needed}: pip install '.[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def inventory(site: Path) -> set[str]:
    """Return the names that the Sphinx inventory of the site lists."""
    compressed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(compressed).decode().splitlines()}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_api_reference(site: Path, package: str) -> None:
    public = {f"{package}.{name}" for name in importlib.import_module(package).__all__}
    assert public
    assert public - inventory(site) == set()
    page = (site / "reference" / f"{package}.html").read_text(encoding="utf-8")
    assert {name for name in public if f'id="{name}"' not in page} == set()


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*", page.read_text(encoding="utf-8"))
        assert [tag for tag in tags if re.search(r"(?:src|href)=[\"']?(?:https?:)?//", tag)] == []


def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts" / "docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "page", "link", "expected"),
    [
        ("README.md", "about.md", "[a](docs/guides/train.md)", "[a](guides/train.md)"),
        ("README.md", "index.md", "![a](docs/images/a.png)", "![a](images/a.png)"),
        ("CONTRIBUTING.md", "contributing.md", "[a](docs/reference/data.md#csv)", "[a](reference/data.md#csv)"),
        ("docs/guides/gpu.md", "guides/gpu.md", "[a](../../benchmarks/RESULTS.md)", "[a](../reference/benchmarks.md)"),
        ("docs/guides/gpu.md", "guides/gpu.md", "[a](../../README.md)", "[a](../about.md)"),
        ("docs/guides/gpu.md", "guides/gpu.md", "[a](#b) [c](https://d.e/f)", "[a](#b) [c](https://d.e/f)"),
        ("docs/guides/gpu.md", "guides/gpu.md", "[a](score.md)", "[a](score.md)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(source: str, page: str, link: str, expected: str) -> None:
    assert hooks().relink(link, source, page) == expected


def test_a_section_that_the_readme_lacks_is_an_error() -> None:
    readme = "# Title\nIntro.\n\n## Install\nRun pip.\n### Windows\nToo.\n\n## Other\nText.\n"
    assert hooks().section(readme, "introduction") == "Intro."
    assert hooks().section(readme, "Install") == "Run pip.\n### Windows\nToo."
    with pytest.raises(Exception, match=r"README\.md has no section 'Usage'; docs/index\.md repeats it"):
        hooks().section(readme, "Usage")


def test_a_notebook_becomes_a_page_with_its_outputs() -> None:
    table = '<table border="1" class="dataframe"><tr style="text-align: right;"></tr></table>'
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["two ", "lines\n"]},
        {"output_type": "display_data", "data": {"image/png": "iVBORw==", "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "data": {"text/html": ["<style scoped>a</style>", table], "text/plain": "x"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Text."]},
        {"cell_type": "code", "source": "run()", "outputs": outputs},
    ]
    text, images = hooks().notebook_page({"cells": cells}, "report")
    assert text.split("\n\n") == [
        "# Title\nText.",
        "```python\nrun()\n```",
        "```text\ntwo lines\n```",
        "![Figure 1](report-1.png)",
        "<table><tr></tr></table>\n",
    ]
    assert images == {"report-1.png": b"\x89PNG"}


def test_search_works_without_a_server(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="the search needs a browser: no Playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("the search needs a browser: found no chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto((site / "guides" / "train.html").as_uri())
        page.fill(".md-search__input", "temperature scaling")
        page.locator(".md-search-result__item a").first.wait_for(state="attached")
        assert "exports-folder.html" in "".join(
            link.get_attribute("href") or "" for link in page.locator(".md-search-result__item a").all()
        )
        browser.close()
    assert [url for url in requests if not url.startswith("file:")] == []
