"""Says how many of the mutants that mutmut has tried were found out by the tests, and fails below 97 of 100.

Run it where mutmut ran. The mutants that no test could find out, as they do what the code does, are subtracted:
``equivalent.toml`` beside this file names each by its function and its text, so that a moved line does not lose it, and
says why. One that is named there and is no longer made is an error.
"""

import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import get_module_from_key, orig_function_and_class_names_from_key

AT_LEAST = 0.97
FOUND_OUT = ("killed", "timeout", "segfault")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@dataclass
class Mutant:
    name: str
    path: Path
    status: str

    @property
    def function(self):
        name, owner = orig_function_and_class_names_from_key(self.name)
        return ".".join((get_module_from_key(self.name), *([owner] if owner else []), name))

    def text(self):
        """What it makes of what, without indentation."""
        lines = get_diff_for_mutant(self.name, path=self.path).splitlines()[2:]
        return tuple(" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")


def all_mutants():
    for path in walk_mutatable_files():
        of_file = SourceFileMutationData(path=path)
        of_file.load()
        for name, exit_code in of_file.exit_code_by_key.items():
            yield Mutant(name, path, status_by_exit_code[exit_code])


def listed():
    """The key of every mutant that is said to be equivalent."""
    for entry in tomllib.loads(EQUIVALENT.read_text())["equivalent"]:
        assert entry["because"], f"no reason is given: {entry}"
        for changed in entry["becomes"]:
            yield entry["function"], entry["line"], changed


def check_names_of_tests():
    """See that each test can be asked for by its name; if it cannot, pytest's error would pass for a found mutant."""
    stats = json.loads(Path("mutants/mutmut-stats.json").read_text())
    odd = [name for name in stats["duration_by_test"] if "\\" in name]
    assert not odd, f"pytest escapes these names once more when it collects them a second time: {odd}"


def main():
    check_names_of_tests()
    mutants, equivalent = list(all_mutants()), set(listed())
    functions = {function for function, _line, _changed in equivalent}
    texts = {
        each.name: (each.function, *each.text())
        for each in mutants
        if each.status not in (*FOUND_OUT, "not checked") or each.function in functions
    }
    tried = [each for each in mutants if each.status != "not checked"]
    alive = [each for each in tried if each.status not in FOUND_OUT]
    survivors = [each for each in alive if texts[each.name] not in equivalent]
    for each in survivors:
        function, line, changed = texts[each.name]
        print(f"{each.name}: {each.status}\n  in {function}\n  - {line}\n  + {changed}")
    stale = equivalent - set(texts.values())
    for function, line, changed in sorted(stale):
        print(f"{EQUIVALENT.name} names a mutant that is not made:\n  in {function}\n  - {line}\n  + {changed}")
    same = len(alive) - len(survivors)
    different = len(tried) - same
    share = 1 - len(survivors) / different
    print(
        f"{len(tried)} of {len(mutants)} mutants tried, {same} of them equivalent; "
        f"the tests found out {different - len(survivors)} of the other {different}: {share:.1%}"
    )
    return 1 if stale or share < AT_LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
