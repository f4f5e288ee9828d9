"""What the relay's tests share: vendors, and one relay that writes to all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitoring.relay import fake_vendors
from tests.monitoring.relay.fake_vendors import KINDS, Vendors
from tests.monitoring.relay.running_relay import LIVELY, RunningRelay


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificate of the vendors."""
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def all_vendors(folder: Path) -> Iterator[Vendors]:
    """All vendors, running."""
    with fake_vendors.running(folder) as found:
        yield found


@pytest.fixture
def vendors(all_vendors: Vendors) -> Iterator[Vendors]:
    """All vendors, in good health and without a message."""
    all_vendors.faults.clear()
    all_vendors.got.clear()
    yield all_vendors
    all_vendors.faults.clear()


@pytest.fixture(scope="module")
def relay(folder: Path, all_vendors: Vendors) -> Iterator[RunningRelay]:
    """A relay that tells a channel of each vendor, the Chinese ones in Chinese."""
    channels = [
        all_vendors.channel(kind, language="zh" if kind in {"dingtalk", "feishu", "wecom"} else "en", **LIVELY)
        for kind in KINDS
    ]
    with RunningRelay(folder, channels) as found:
        yield found
