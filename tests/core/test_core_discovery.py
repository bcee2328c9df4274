"""Foreign metadata that cannot be read hurts nobody: the other plug-ins work, and it is told."""

import importlib.metadata
import shutil
import sys

import pytest
from site_packages import WORKING, SitePackages

from symcache_core.errors import ConfigurationError, UnknownBackendError
from symcache_core.registry import Registry

TORN = {
    "a line that is no pair": b"[symcache]\nthird third_plugin\n",
    "undecodable bytes": b"[symcache]\nthird = \xff\xfe\n",
    "bytes of another encoding": "[symcache]\nthird = third_plugin\n".encode("utf-16"),
}


@pytest.fixture(autouse=True)
def other(install):
    """A plug-in that works, whatever is wrong with another."""
    install("zoo", "zoo_plugin", WORKING.format(name="zoo"))


def others_work(tmp_path):
    for name in ("zoo", "memory"):
        Registry().open(name, {}, base_dir=tmp_path, data_dir=tmp_path).close()
    errors = {report.name: report.error for report in Registry().reports()}
    return {errors[name] for name in ("zoo", "memory", "json", "diskcache")} == {None}


def report_of(source):
    (found,) = [report for report in Registry().reports() if report.source.startswith(source)]
    return found


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
def test_entry_points_that_cannot_be_read_are_told_and_hurt_nobody(install, tmp_path, content):
    (install("third", "third_plugin", WORKING) / "entry_points.txt").write_bytes(content)
    assert others_work(tmp_path)
    report = report_of("symcache-third 1.0")
    assert report.error.startswith("entry_points.txt cannot be read: ")
    assert "\n" not in report.error
    with pytest.raises(UnknownBackendError, match=r"no backend 'third'.*symcache-third 1\.0 may have one"):
        Registry().backend("third")


def test_entry_points_of_others_that_cannot_be_read_are_none_of_our_business(install, tmp_path):
    (install("third", "third_plugin", WORKING) / "entry_points.txt").write_bytes(b"[console_scripts]\ntorn\n")
    assert others_work(tmp_path)
    assert "symcache-third 1.0" not in {report.source for report in Registry().reports()}


METADATA = {"none": None, "empty": b"", "undecodable": b"Name: \xff\xfe", "nameless": b"Metadata-Version: 2.1\n"}


@pytest.mark.parametrize("content", METADATA.values(), ids=METADATA)
def test_a_plugin_works_without_its_distribution_s_metadata_and_that_is_told(install, tmp_path, content):
    path = install("third", "third_plugin", WORKING.format(name="third")) / "METADATA"
    path.unlink() if content is None else path.write_bytes(content)
    Registry().open("third", {}, base_dir=tmp_path, data_dir=tmp_path).close()
    assert others_work(tmp_path)
    assert report_of("symcache_third").source == "symcache_third-1.0.dist-info without a readable METADATA"
    assert report_of("symcache_third").error is None


def test_a_distribution_without_metadata_does_not_come_before_ours(install):
    (install("memory", "aaa_plugin", WORKING.format(name="memory"), distribution="aaa") / "METADATA").unlink()
    assert report_of("aaa").error.startswith("DuplicateBackendError: backend 'memory' is already provided by symcache ")
    assert Registry().backend("memory").settings.__module__ == "symcache_backends.memory"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module_here", "No module named 'no_such_module_here'"),
        ("zoo_plugin:nothing", "nothing"),
        ("two words", "its entry point is 'two words', which names no module"),
        ("", "its entry point is '', which names no module"),
    ],
    ids=["no module", "no attribute", "no name", "nothing"],
)
def test_an_entry_point_that_leads_nowhere_is_told_and_hurts_nobody(install, tmp_path, target, message):
    (install("third", "third_plugin", "") / "entry_points.txt").write_text(f"[symcache]\nthird = {target}\n")
    assert others_work(tmp_path)
    assert message in report_of("symcache-third 1.0").error
    with pytest.raises(ConfigurationError, match=r"plug-in 'third' \(symcache-third 1\.0\): "):
        Registry().backend("third")


def test_of_a_distribution_that_is_installed_twice_the_first_on_the_path_counts(install, tmp_path, monkeypatch):
    install("third", "third_plugin", WORKING.format(name="third"))
    newer = SitePackages(tmp_path / "newer", monkeypatch)
    shutil.copytree(tmp_path / "site-packages", newer.folder, dirs_exist_ok=True)
    assert [report.error for report in Registry().reports() if report.name == "third"] == [None]
    (newer.folder / "symcache_third-1.0.dist-info" / "entry_points.txt").write_text("[console_scripts]\n")
    assert "third" not in Registry().names()


def test_a_distribution_whose_folder_bears_another_name_is_found_by_its_own(install):
    info = install("third", "third_plugin", WORKING.format(name="third"))
    info.rename(info.with_name("renamed-1.0.dist-info"))
    assert (report_of("symcache-third 1.0").name, report_of("symcache-third 1.0").error) == ("third", None)


def test_a_finder_of_distributions_that_fails_is_told_and_hurts_nobody(tmp_path, monkeypatch):
    class Failing:
        def find_spec(self, *_arguments):
            return None

        def find_distributions(self, _context):
            raise OSError("out of reach")

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Failing()])
    assert others_work(tmp_path)
    assert report_of("sys.meta_path").error == "a finder of distributions: OSError: out of reach"


def test_what_is_found_is_what_the_standard_library_finds(install):
    install("third", "third_plugin", WORKING.format(name="third"))
    found = {entry.name for entry in importlib.metadata.entry_points(group="symcache")}
    assert set(Registry().names()) == found
