"""The page works without its server once it is loaded, and a new version replaces it whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from visits import require_browser, served, visit

require_browser()

COMPLETE = """async () => {
  await navigator.serviceWorker.ready;
  const [name] = await caches.keys();
  return (await (await caches.open(name)).keys()).length;
}"""


UPDATED = """async () => {
  const registration = await navigator.serviceWorker.ready;
  await registration.update();
  const until = performance.now() + 60_000;
  while (registration.waiting === null && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}"""


def test_the_page_works_after_its_server_has_stopped(browser: Any, page_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(page_folder, tmp_path / "once"))
    files = json.loads((folder / "files.js").read_text().removeprefix("self.FER_SITE = ").removesuffix(";\n"))["files"]
    context = browser.new_context()
    page = context.new_page()
    with served(folder) as address:
        page.goto(address)
        assert page.evaluate(COMPLETE) == len(files) + 1
    for path in ("", "index.html", "?from=home"):
        page.goto(address + path)
        page.wait_for_selector(".result .meta:not(:empty)")
        page.locator("#checks .verdict.good").first.wait_for()
    assert page.inner_text("#errors") == ""
    context.close()


def test_the_second_visit_is_isolated_from_other_origins(browser: Any, address: str) -> None:
    with visit(browser, address) as page:
        page.evaluate(COMPLETE)
        page.reload()
        page.wait_for_selector(".result .meta:not(:empty)")
        assert page.evaluate("crossOriginIsolated")


def test_a_new_version_replaces_all_files_of_the_old_one(browser: Any, page_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(page_folder, tmp_path / "twice"))
    context = browser.new_context()
    with served(folder) as address:
        page = context.new_page()
        page.goto(address)
        page.evaluate(COMPLETE)
        before = page.evaluate("caches.keys()")
        listed = (folder / "files.js").read_text()
        version = json.loads(listed.removeprefix("self.FER_SITE = ").removesuffix(";\n"))["version"]
        (folder / "files.js").write_text(listed.replace(version, "0123456789abcdef"))
        page.evaluate(UPDATED)
        assert len(page.evaluate("caches.keys()")) == 2, "the page keeps its version"
        page.goto("about:blank")
        page.wait_for_timeout(500)
        page.goto(address)
        page.wait_for_selector(".result .meta:not(:empty)")
        after = page.evaluate("caches.keys()")
    assert (len(before), len(after)) == (1, 1)
    assert after[0].endswith("0123456789abcdef")
    assert before != after
    context.close()
