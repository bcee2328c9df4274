"""What the tests of plug-ins share: a folder to install some in."""

import pytest
from site_packages import SitePackages


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = SitePackages(tmp_path / "site-packages", monkeypatch)
    yield site
    site.close()


@pytest.fixture
def install(site):
    """Install a plug-in: its name, its module, the module's source, and the distribution if its name is another."""
    return site.install
