"""Families of operating systems, from the os-release files that the distributions ship."""

from __future__ import annotations

import pytest

from ai_workflow.config.system import detect, of_text

# name -> (family, the lines of os-release that matter)
RELEASES: dict[str, tuple[str | None, str]] = {
    "openEuler 22.03": ("centos", 'NAME="openEuler"\nVERSION="22.03 (LTS-SP3)"\nID="openEuler"\nVERSION_ID="22.03"\n'),
    "Kylin Server V10": ("centos", 'NAME="Kylin Linux Advanced Server"\nID="kylin"\nVERSION_ID="V10"\n'),
    "Kylin Desktop V10": (
        "ubuntu",
        'NAME="Kylin"\nVERSION_US="Kylin Linux Desktop V10 (SP1)"\nID=kylin\nID_LIKE=debian\n',
    ),
    "NeoKylin 7": ("centos", 'NAME="NeoKylin Linux Server"\nID="neokylin"\nID_LIKE="fedora"\n'),
    "NeoKylin without ID_LIKE": ("centos", "ID=neokylin\n"),
    "openKylin": ("ubuntu", 'NAME="openKylin"\nID=openkylin\nID_LIKE=debian\n'),
    "UOS Desktop 20": ("ubuntu", 'PRETTY_NAME="UnionTech OS Desktop 20 Pro"\nNAME="uos"\nVERSION_ID="20"\nID=uos\n'),
    "UOS Server 20": (
        "centos",
        'PRETTY_NAME="UnionTech OS Server 20"\nNAME="UnionTech OS Server 20"\nID="uos"\nPLATFORM_ID="platform:uel20"\n',
    ),
    "UnionTech": ("ubuntu", "ID=uniontech\nID_LIKE=debian\n"),
    "EulerOS 2.0": (
        "centos",
        'NAME="EulerOS"\nVERSION="2.0 (SP10x86_64)"\nID="euleros"\nID_LIKE="rhel fedora centos"\n',
    ),
    "EulerOS without ID_LIKE": ("centos", 'ID="euleros"\nVERSION_ID="2.0"\n'),
    "Huawei Cloud EulerOS": ("centos", 'NAME="Huawei Cloud EulerOS"\nID="hce"\nVERSION_ID="2.0"\n'),
    "deepin 20": ("ubuntu", 'PRETTY_NAME="Deepin 20.9"\nNAME="Deepin"\nID=Deepin\n'),
    "deepin 23": ("ubuntu", 'NAME="Deepin"\nID=deepin\nID_LIKE=debian\n'),
    "OpenCloudOS 9": (
        "centos",
        'NAME="OpenCloudOS"\nID="opencloudos"\nID_LIKE="opencloudos"\nPLATFORM_ID="platform:oc9"\n',
    ),
    "TencentOS 3": ("centos", 'NAME="TencentOS Server"\nID="tencentos"\nID_LIKE="rhel fedora centos"\n'),
    "tlinux": ("centos", 'ID="tlinux"\n'),
    "Anolis 8": ("centos", 'NAME="Anolis OS"\nID="anolis"\nID_LIKE="rhel fedora centos"\n'),
    "Alibaba Cloud Linux 3": ("centos", 'ID="alinux"\nID_LIKE="rhel fedora centos anolis"\n'),
    "Rocky 9": ("centos", 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\n'),
    "AlmaLinux 9": ("centos", 'ID="almalinux"\nID_LIKE="rhel centos fedora"\n'),
    "Oracle Linux 8": ("centos", 'NAME="Oracle Linux Server"\nID="ol"\nID_LIKE="fedora"\n'),
    "Amazon Linux 2023": ("centos", 'NAME="Amazon Linux"\nID="amzn"\nID_LIKE="fedora"\n'),
    "CentOS 7": ("centos", 'NAME="CentOS Linux"\nID="centos"\nID_LIKE="rhel fedora"\n'),
    "RHEL 9": ("centos", 'ID="rhel"\nID_LIKE="fedora"\n'),
    "Fedora 40": ("centos", "NAME='Fedora Linux'\nID=fedora\n"),
    "a rebuild that is not in the table": ("centos", 'ID="somebrand"\nID_LIKE="unknown fedora"\n'),
    "Ubuntu 24.04": ("ubuntu", "ID=ubuntu\nID_LIKE=debian\n"),
    "Debian 12": ("ubuntu", "ID=debian\n"),
    "Linux Mint": ("ubuntu", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n'),
    "Windows line ends, spaces, a comment": ("ubuntu", '\ufeff# a comment\r\n  ID = "Debian"  \r\n'),
    "both families in ID_LIKE: the closest comes first": ("ubuntu", 'ID=x\nID_LIKE="debian rhel"\n'),
    "openSUSE": (None, 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n'),
    "SLES": (None, 'ID="sles"\nID_LIKE="suse"\n'),
    "Arch": (None, "ID=arch\n"),
    "Alpine": (None, "ID=alpine\n"),
    "a quote that never ends": (None, 'ID="centos\n'),
    "nothing": (None, ""),
    "a name that only begins like one": (None, "ID=debianish\nID_LIKE=ubuntux\n"),
}


@pytest.mark.parametrize(("family", "text"), RELEASES.values(), ids=RELEASES)
def test_os_release_maps_to_system_family(family: str | None, text: str) -> None:
    assert of_text(text).family == family


def test_system_id_and_title_come_from_os_release() -> None:
    system = of_text('ID="openEuler"\nPRETTY_NAME="openEuler 22.03 (LTS-SP3)"\n')
    assert (system.id, system.title) == ("openeuler", "openEuler 22.03 (LTS-SP3)")


def test_missing_os_release_has_no_family() -> None:
    found = detect({"AIW_OS_RELEASE": "/no/such/file"})
    assert (found.id, found.family) == ("", None)
