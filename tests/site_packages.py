"""A folder of installed distributions, as importlib.metadata finds them: a module, and metadata beside it."""

import sys

WORKING = """
from pydantic import BaseModel
from symcache_core import Backend, hookimpl
from symcache_backends.memory import MemoryBackend, MemorySettings

@hookimpl
def symcache_backends():
    yield Backend(name="{name}", settings=MemorySettings, open=MemoryBackend)
"""
"""The module of a plug-in that works."""


class SitePackages:
    """Puts a folder on the path, and distributions into it; ``close`` forgets their modules."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self._modules = []
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))

    def install(self, name, module, source, distribution=None):
        """Install a plug-in; gives the folder of its metadata."""
        distribution = distribution or f"symcache-{name}"
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[symcache]\n{name} = {module}\n")
        (self.folder / f"{module}.py").write_text(source)
        self._modules.append(module)
        return info

    def close(self):
        for module in self._modules:
            sys.modules.pop(module, None)
