"""Checks the types of the examples: ``python tests/typed/examples.py``.

A block of Python that is followed by what it prints is a whole program, and so checked as it stands. Any other is a
piece of one: it may leave names out, and has the imports of the blocks before it on its page. None is skipped.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from mypy import api

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?P<printed>\n*```text$)?", re.DOTALL | re.MULTILINE)
IMPORT = re.compile(r"(from|import) .*")

# As strict as the packages, but for what keeps an example short: its own functions have no types, and it knows the
# symbol that it asks about to be valid.
WHOLE = "allow-untyped-defs, allow-untyped-calls, no-strict-optional"
PIECE = f"{WHOLE}, allow-subclassing-any, disable-error-code=name-defined"


def examples(page: Path) -> Iterator[tuple[str, str]]:
    """The blocks of a page, each with a name for its file; every line stands where it does on the page."""
    text = page.read_text()
    imports = [""] * text.count("\n")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start("code"))
        code = block["code"].splitlines()
        before = [""] * first if block["printed"] else imports[:first]
        before[0] = f"# mypy: {WHOLE if block['printed'] else PIECE}"  # a page does not begin with a block
        yield f"{page.stem.replace('-', '_')}_{first}.py", "\n".join([*before, *code, ""])
        imports[first : first + len(code)] = [line if IMPORT.match(line) else "" for line in code]


def main() -> int:
    """Let mypy look at every example, and tell what it says in the words of the pages."""
    pages = dict[str, str]()
    with TemporaryDirectory() as folder:
        for page in PAGES:
            for name, source in examples(page):
                pages[name] = str(page.relative_to(ROOT))
                (Path(folder) / name).write_text(source)
        found, failed, status = api.run(["--config-file", str(ROOT / "pyproject.toml"), folder])
    print(re.sub(rf"{re.escape(folder)}/(\w+\.py)", lambda file: pages[file[1]], found), failed, sep="", end="")
    return status


if __name__ == "__main__":
    sys.exit(main())
