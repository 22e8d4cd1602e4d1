"""Which addresses a stranger's URL may lead to, beside the standard library's opinion."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lehr.errors import InvalidRequest
from lehr.serving.addresses import AllowList, is_public, parsed

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::200e"]
WRAPPED_PUBLIC = ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1"),
    *("2001:db8::1", "2001::1", "3fff::1", "100::1", "64:ff9b:1::a00:1", "5f00::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("2002:7f00:1::1", "2002:a00:1::", "2002:a9fe:a9fe::1"),
]


@pytest.mark.parametrize("text", PUBLIC + WRAPPED_PUBLIC)
def test_the_public_internet_may_be_reached(text):
    assert is_public(parsed(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_nothing_else_may_be_reached(text):
    assert not is_public(parsed(text))
    assert not AllowList(()).may_reach(parsed(text))


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_never_public(address):
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not is_public(address) or getattr(address, "ipv4_mapped", None)


def test_networks_and_addresses_can_be_allowed_also_in_their_mapped_form():
    allowed = AllowList(["10.0.0.0/8", "192.168.1.7", "fd00::/8", "[::1]"])
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "192.168.1.7", "fd00::5", "::1", "8.8.8.8"):
        assert allowed.may_reach(ip_address(text))
    for text in ("192.168.1.8", "127.0.0.1", "::ffff:127.0.0.1"):
        assert not allowed.may_reach(ip_address(text))


def test_hosts_can_be_allowed_by_name():
    allowed = AllowList(["Images.Example.org", " nas.local "])
    assert allowed.has_host("images.example.org.")
    assert allowed.has_host("NAS.local")
    assert not allowed.has_host("evil.images.example.org")


@pytest.mark.parametrize("entry", ["10.0.0.0/40", "host/path", "http://host", ""])
def test_a_senseless_entry_is_refused_at_once(entry):
    with pytest.raises(InvalidRequest, match="cannot be allowed"):
        AllowList([entry])
