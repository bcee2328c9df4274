"""Our host service as these tests find it: a process of its own, before a simulated TWS."""

import pytest
from host_process import HostProcess
from tws.process import TwsProcess


@pytest.fixture(scope="module")
def tws():
    with TwsProcess() as tws:
        yield tws


@pytest.fixture(scope="module")
def host(tws, tmp_path_factory):
    host = HostProcess(tmp_path_factory.mktemp("host"), "--gateway", "ib", "--ib-port", str(tws.port))
    yield host
    host.close()
