"""The score of the contract: every broken backend, and the page that publishes which case catches it.

Run as a script, it writes the page anew.
"""

import sys
from pathlib import Path

import broken_atomicity
import broken_capabilities
import broken_entries
import broken_errors
import broken_forks
import broken_generation
import broken_keys
import broken_leases
import broken_opening
import broken_outage
import broken_outage_beside
import broken_paths
import broken_resources
import broken_sharing
import broken_times
from reference_backends import mutants_of

MODULES = (
    broken_entries,
    broken_keys,
    broken_times,
    broken_opening,
    broken_paths,
    broken_errors,
    broken_sharing,
    broken_forks,
    broken_capabilities,
    broken_atomicity,
    broken_generation,
    broken_leases,
    broken_outage,
    broken_outage_beside,
    broken_resources,
)

MUTANTS = [store for module in MODULES for store in mutants_of(vars(module))]

PAGE = Path(__file__).parents[2] / "docs" / "contract-score.md"

NAMES = {"lmdb": "LMDB", "postgresql": "PostgreSQL", "objects": "an object store over HTTP"}

TEXT = """\
# What the contract catches

A contract suite is worth what it catches of what others do wrong, and that can be measured.

**Score: {caught} of {planted} planted defects caught, {share}.** They are in three backends, over {storages}.
Backends and defects were made from the [authors' page](writing-a-backend.md) alone, without a look at the suite or the
core: each defect breaks one sentence of the page. The first list below has those that are caught, the second one those
that are not, and why. The third one has {count} broken backends that were made beside the suite, to prove its cases;
all of them are caught, which says less.

`pytest -m "soak or not soak" tests/contract/test_planted_backends.py tests/contract/test_broken_backends.py` proves it:
each defect fails the very case that it names here, tried through the code behind `symcache backends --check`, and the
correct backends keep every promise. Every run of the tests tries one broken backend of the third list for each case of
the contract; `tox -e soak` tries all. The tests fail, too, if this page is out of date or a case of the contract
catches nothing. The defects are in `tests/contract/planted/defects_*.py` and `tests/contract/broken_*.py`, a few lines
each, and `python tests/contract/contract_score.py` writes this page anew.

## Planted from the page alone

{planted_rows}

## Not caught

{missed_rows}

## Made beside the suite

| a backend that ... | is caught by |
|---|---|
{rows}
"""


def all_planted():
    """The planted defects, by storage."""
    from planted_backends import STORAGES, planted  # with a path that a script has to add first

    return {storage: planted(storage) for storage in STORAGES}


def score():
    """How many of the planted defects are caught, and how many there are."""
    defects = [defect for found in all_planted().values() for defect in found]
    return sum(bool(defect.case) for defect in defects), len(defects)


def page():
    """The page as it has to be."""
    caught, count = score()
    return TEXT.format(
        caught=caught,
        planted=count,
        share=f"{caught / count:.1%}".replace("%", " %"),
        storages=", ".join(NAMES[storage] for storage in all_planted()),
        planted_rows="\n\n".join(_caught(storage, defects) for storage, defects in all_planted().items()),
        missed_rows="\n".join(_missed(storage, defects) for storage, defects in all_planted().items()),
        count=len(MUTANTS),
        rows="\n".join(_row(store.__doc__, store.caught_by) for store in MUTANTS),
    )


def _caught(storage, defects):
    rows = [_row(defect.says, defect.case) for defect in defects if defect.case]
    head = f"### In {NAMES[storage]}: {len(rows)} of {len(defects)}"
    return "\n".join([head, "", "| a backend that ... | is caught by |", "|---|---|", *rows])


def _missed(storage, defects):
    return "\n".join(f"- {NAMES[storage]}: {defect.says}. {defect.why_not}" for defect in defects if not defect.case)


def _row(says, case):
    said = says.replace("|", "\\|")
    return f"| {said} | {case.removeprefix('test_').replace('_', ' ')} |"


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).with_name("planted")))
    PAGE.write_text(page())
