"""The score of the contract: every broken backend, and the page that publishes which case catches it.

Run as a script, it writes the page anew.
"""

from pathlib import Path

import broken_capabilities
import broken_entries
import broken_opening
import broken_sharing
from reference_backends import mutants_of

MUTANTS = [
    store
    for module in (broken_entries, broken_opening, broken_sharing, broken_capabilities)
    for store in mutants_of(vars(module))
]

PAGE = Path(__file__).parents[2] / "docs" / "contract-score.md"

TEXT = """\
# What the contract catches

A contract suite is worth what it catches. This page lists {count} deliberately broken backends, each of which has one
defect of the kind that real authors make, and the test of `BackendContract` that catches it.

**Score: {count} of {count} caught, 100 %.** Each by the very case that it names; the two correct backends that they are
made of, one in memory and one in SQLite, keep every promise.

`pytest tests/contract/test_broken_backends.py` proves it in every run of the tests. It tries each broken backend
through the code behind `symcache backends --check`; it fails if one passes its case, if this page is out of date, or if
a case of the contract catches nothing. The backends are in `tests/contract/broken_*.py`, a few lines each, and
`python tests/contract/contract_score.py` writes this page anew.

| a backend that ... | is caught by |
|---|---|
{rows}
"""


def page():
    """The page as it has to be."""
    rows = [f"| {_defect(store)} | {store.caught_by.removeprefix('test_').replace('_', ' ')} |" for store in MUTANTS]
    return TEXT.format(count=len(MUTANTS), rows="\n".join(rows))


def _defect(store):
    return store.__doc__.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
