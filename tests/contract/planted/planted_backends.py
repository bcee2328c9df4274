"""Registers every backend that has a planted defect, under a name of its own: ``lmdb-3`` has the third one in LMDB."""

import importlib

from symcache_core.plugin import Backend, hookimpl

STORAGES = {"lmdb": "lmdb", "postgresql": "postgresql", "objects": "object"}
"""Where the defects are, and how the module of the correct backend begins."""


def planted(storage):
    """The defects in one storage; the first of them is number 1."""
    return importlib.import_module(f"defects_{storage}").DEFECTS


@hookimpl
def symcache_backends():
    for storage, stem in STORAGES.items():
        try:
            correct = importlib.import_module(f"{stem}_store")
            defects = planted(storage)
        except ModuleNotFoundError:  # the storage's library
            continue
        (record,) = correct.symcache_backends()
        yield Backend(name=f"{storage}-0", settings=record.settings, open=record.open)
        for number, defect in enumerate(defects, 1):
            yield Backend(name=f"{storage}-{number}", settings=record.settings, open=defect.make)
