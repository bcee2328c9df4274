"""Files and folders that are opened, made and replaced: what is in the way is named, and nothing is left behind."""

import os
import subprocess
import sys

import pytest

from symcache_core.errors import ConfigurationError
from symcache_core.files import make_folder, open_regular, regular_file, replacing


@pytest.mark.parametrize(
    ("leads_to", "what"), [("nowhere", "a folder that is not there"), ("link", "itself"), ("file", "no folder")]
)
def test_a_symlink_where_a_folder_is_to_be_made_is_named(tmp_path, leads_to, what):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(leads_to)
    for folder in (tmp_path / "link", tmp_path / "link" / "below"):
        with pytest.raises(NotADirectoryError, match=f"symlink to .*{what}.*link'"):
            make_folder(folder)


def test_a_file_where_a_folder_is_to_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"it is no folder: '.*file'"):
        make_folder(tmp_path / "file" / "below")


def test_the_name_of_an_empty_folder_is_made_safe_as_its_maker_may_have_been_killed(tmp_path, monkeypatch):
    (tmp_path / "others").touch()
    synced = []
    monkeypatch.setattr("symcache_core.files.sync_folder", synced.append)
    folder = tmp_path / "data" / "store"
    make_folder(folder)
    assert synced == [tmp_path, folder.parent]
    make_folder(folder)
    assert synced[2:] == [folder.parent]
    (folder / "file").touch()
    make_folder(folder)
    assert len(synced) == 3


def test_a_symlink_where_a_file_is_to_be_is_named(tmp_path):
    (tmp_path / "nowhere").symlink_to("not there")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileExistsError, match="symlink to a file that is not there"):
        open_regular(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"loop is a symlink that leads to itself: set 'a setting'"):
        regular_file(tmp_path / "loop", "a setting")
    with pytest.raises(ConfigurationError, match=r"leads to itself: set 'a setting'"):
        regular_file(tmp_path / "loop" / "below", "a setting")


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "file") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


OPENED = """
import gc, os, sys
from pathlib import Path
from symcache_core.files import open_regular
file = open_regular(Path(sys.argv[1]))
if os.fork() == 0:
    sys.exit()
os.wait()
dropped = open_regular(Path(sys.argv[1]))
del dropped
"""


def test_a_file_that_is_dropped_or_open_at_the_end_needs_no_warning(tmp_path):
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", OPENED, str(tmp_path / "file")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stderr == ""
