"""``python -m symcache_core.cli`` is the ``symcache`` command."""

from . import main

if __name__ == "__main__":
    main()
