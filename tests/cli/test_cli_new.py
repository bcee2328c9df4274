"""``new backend`` writes a whole distribution or nothing, and the example is what it writes, grown."""

from __future__ import annotations

import ast
import json
import resource
import tomllib
from pathlib import Path

import pytest
from site_packages import WORKING

from symcache_core.cli.new import backend_distribution
from symcache_core.registry import Registry

EXAMPLE = Path(__file__).parents[2] / "examples" / "symcache-sqlite"
MADE = backend_distribution("sqlite")


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and not any(part in path.parts for part in ("__pycache__", ".mypy_cache", ".ruff_cache"))
    }


def test_it_writes_a_distribution_and_says_which_files(invoke, folder):
    done = invoke("new", "backend", "lmdb-like")
    assert done.exit_code == 0
    assert files_in(folder / "symcache-lmdb-like") == backend_distribution("lmdb-like")
    assert done.stdout.splitlines() == [f"symcache-lmdb-like/{path}" for path in backend_distribution("lmdb-like")]
    assert "cd symcache-lmdb-like && pip install" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["symcache-lmdb-like", "symcache.toml"]


def test_it_writes_into_another_folder_and_tells_programs_where(invoke, folder):
    (folder / "elsewhere").mkdir()
    done = invoke("new", "backend", "lmdb_like", "--into", "elsewhere", "--json")
    written = [json.loads(line)["file"] for line in done.stdout.splitlines()]
    assert "elsewhere/symcache-lmdb_like/src/symcache_lmdb_like.py" in written
    assert all((folder / file).is_file() for file in written)


def test_what_it_writes_goes_by_the_name_everywhere(site, invoke, folder, tmp_path):
    invoke("new", "backend", "lmdb-like")
    made = folder / "symcache-lmdb-like"
    project = tomllib.loads((made / "pyproject.toml").read_text())
    assert project["project"]["name"] == "symcache-lmdb-like"
    assert project["project"]["entry-points"]["symcache"] == {"lmdb-like": "symcache_lmdb_like"}
    site.install("lmdb-like", "symcache_lmdb_like", (made / "src" / "symcache_lmdb_like.py").read_text())
    store = Registry().open("lmdb-like", {}, base_dir=tmp_path, data_dir=tmp_path / "data")
    store.write("key", b"{}", 4e9)
    assert store.read("key") == b"{}"
    store.close()
    assert (tmp_path / "data" / "lmdb-like").is_dir()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LMDB", "; did you mean 'lmdb'?"),
        ("lmdb like", "; did you mean 'lmdb-like'?"),
        ("lmdb-", "; did you mean 'lmdb'?"),
        ("lmdb--like", "; did you mean 'lmdb-like'?"),
        ("../lmdb", "; did you mean 'lmdb'?"),
        ("lmdb\n", "; did you mean 'lmdb'?"),
        ("7z", ""),
        ("", ""),
        ("ümlaut", "; did you mean 'mlaut'?"),
    ],
)
def test_a_bad_name_is_refused_and_the_nearest_good_one_proposed(invoke, folder, name, hint):
    done = invoke("new", "backend", "--", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: backend name ")
    assert done.stderr.endswith(f"in between{hint}\n")
    assert [path.name for path in folder.iterdir()] == ["symcache.toml"]


@pytest.mark.parametrize("name", ["memory", "json", "lmdb-like", "lmdb_like"])
def test_a_name_that_a_backend_has_is_refused(site, invoke, folder, name):
    site.install("lmdb-like", "another_module", WORKING.format(name="lmdb-like"))
    done = invoke("new", "backend", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"backend name '{name}' is taken" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["symcache.toml"]


@pytest.mark.parametrize("name", ["core", "backends", "host"])
def test_a_name_whose_module_would_hide_another_is_refused(invoke, name):
    done = invoke("new", "backend", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"there is a module symcache_{name} already" in done.stderr


@pytest.mark.parametrize("kind", ["a folder", "an empty folder", "a file", "a link to nothing"])
def test_what_is_there_already_is_left_as_it_is(invoke, folder, kind):
    there = folder / "symcache-lmdb-like"
    if kind == "a link to nothing":
        there.symlink_to(folder / "nothing")
    elif kind == "a file":
        there.write_text("mine")
    else:
        there.mkdir()
        (there / "mine").touch() if kind == "a folder" else None
    before = sorted(folder.rglob("*"))
    done = invoke("new", "backend", "lmdb-like")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "error: symcache-lmdb-like exists already: move it away, or choose another name or folder" in done.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("into", ["missing", "symcache.toml"])
def test_a_folder_that_is_none_is_refused(invoke, folder, into):
    done = invoke("new", "backend", "lmdb-like", "--into", into)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: --into: there is no folder {into}\n")
    assert [path.name for path in folder.iterdir()] == ["symcache.toml"]


def test_nothing_is_left_when_a_file_cannot_be_written(run, folder):
    def allow_small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    done = run("new", "backend", "lmdb-like", preexec_fn=allow_small_files_only)
    assert (done.returncode, done.stdout) == (3, "")
    assert "File too large" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["symcache.toml"]


def test_the_example_has_the_files_of_what_is_written():
    assert set(files_in(EXAMPLE)) == set(MADE)


@pytest.mark.parametrize("path", [".github/workflows/check.yml", "tests/test_sqlite.py", "pyproject.toml"])
def test_the_example_differs_from_what_is_written_in_what_its_storage_is(path):
    made = MADE[path].replace('"store"', '"symbols.db"').replace("in a folder", "in one SQLite file")
    assert (EXAMPLE / path).read_text() == made


def headings(text):
    return [line for line in text.splitlines() if line.startswith(("#", "- ", "$"))]


def test_the_example_s_readme_says_the_same_about_the_same_files():
    assert headings((EXAMPLE / "README.md").read_text()) == headings(MADE["README.md"])


def outline(source):
    """The classes of a module and their public methods, with what they take and give, and its functions."""
    module = ast.parse(source)
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    return {
        (
            owner.name if isinstance(owner, ast.ClassDef) else "",
            node.name,
            ast.unparse(node.args),
            ast.unparse(node.returns),
        )
        for owner in (module, *classes)
        for node in owner.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def test_the_example_s_module_has_the_classes_and_methods_of_what_is_written():
    path = "src/symcache_sqlite.py"
    assert outline(MADE[path]) <= outline((EXAMPLE / path).read_text())
