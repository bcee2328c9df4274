"""What the documents show is what happens: examples run, tables are complete, links lead somewhere."""

import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import symcache_core
from symcache_core import SymcacheSettings
from symcache_core.registry import Registry
from symcache_core.settings import parse_duration

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
DOCUMENTS = [*PAGES, *sorted((ROOT / "docs").rglob("*.md"))]
README = DOCUMENTS[0].read_text()
EXAMPLES = [
    pytest.param(code, output, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, (code, output) in enumerate(
        re.findall(r"```python\n((?:(?!```).)*)```\n+```text\n(.*?)```", document.read_text(), re.DOTALL)
    )
]


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_prints_what_its_document_says(code, output, tmp_path):
    script = tmp_path / "example.py"
    script.write_text(code)
    environment = {"PATH": "/usr/bin:/bin", "SYMCACHE_HOST_LATENCY": "0"}
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout == output, run.stderr


def test_the_example_of_a_configuration_is_one(tmp_path):
    (example,) = [text for text in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "backend =" in text]
    path = tmp_path / "symcache.toml"
    path.write_text(example)
    settings = SymcacheSettings(config=path)
    assert settings.backend == tomllib.loads(example)["backend"]
    Registry().backend(settings.backend).settings.model_validate(settings.backends["diskcache"])


def test_every_setting_and_option_is_documented():
    documented = (ROOT / "docs" / "settings.md").read_text()
    for name, field in SymcacheSettings.model_fields.items():
        assert re.search(rf"^\| `{name}` \|.*\| {re.escape(field.description)} \|$", documented, re.MULTILINE), name
    for report in Registry().reports():
        for backend in report.backends:
            for name, field in backend.settings.model_fields.items():
                row = rf"^\| `{backend.name}` \| `{name}` \|.*\| {re.escape(field.description)} \|$"
                assert re.search(row, documented, re.MULTILINE), (backend.name, name)


def existing_tests():
    return {
        name
        for folder in (ROOT / "tests", Path(symcache_core.__file__).parent / "testing")
        for path in folder.rglob("*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }


def test_everything_that_storage_goes_through_names_a_test_that_exists():
    rows = re.findall(r"^\|.*`test_.*$", (ROOT / "docs" / "storage.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    for row in rows:
        assert set(re.findall(r"`(test_\w+)`", row)) <= existing_tests(), row


def test_every_rule_of_a_lookup_names_its_setting_with_its_default_and_a_test_that_exists():
    tests = existing_tests()
    page = (ROOT / "docs" / "lookups.md").read_text()
    rules = [row.strip("|").replace("\\|", "/").split("|") for row in re.findall(r"^\|.*`test_.*$", page, re.MULTILINE)]
    assert len(rules) > 30
    for cells in rules:
        assert set(re.findall(r"`(test_\w+)`", cells[-1])) <= tests, cells
        if len(cells) == 4 and (setting := cells[1].strip().strip("`")):
            default = SymcacheSettings.model_fields[setting].default
            shown = cells[2].strip().strip("`")
            assert default == parse_duration(shown), cells


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def test_the_tree_in_the_architecture_is_the_tree():
    drawn = re.findall(r"^    (\w+)(?:\.py|/) ", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    built = {path.stem for path in Path(symcache_core.__file__).parent.iterdir()} - {"__init__", "__pycache__", "py"}
    assert set(drawn) == built


def test_the_readme_s_test_command_is_what_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    command = next(line for line in README.splitlines() if "bin/tox" in line)
    assert command in (ROOT / "CONTRIBUTING.md").read_text()
    for step in command.split(" && "):
        assert all(word in ci for word in step.split()), step


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_by_its_dots_can_be_imported(document):
    for name in set(re.findall(r"\bsymcache_(?:core|backends|host)(?:\.\w+)+", document.read_text())):
        pkgutil.resolve_name(name.removesuffix(".py"))
