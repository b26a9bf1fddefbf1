"""Addresses read back what they write, and nothing else."""

from __future__ import annotations

import pytest
from flowc.runtime.address import Address, parse_index
from hypothesis import given
from hypothesis import strategies as st

STEPS = st.from_regex(r"[a-z0-9][a-z0-9_]{0,12}", fullmatch=True)
ADDRESSES = st.builds(
    Address,
    STEPS,
    st.lists(st.integers(0, 10**6), max_size=5).map(tuple),
    st.integers(1, 10**4),
)


@given(ADDRESSES)
def test_text_and_key_read_back(address: Address) -> None:
    assert Address.parse(str(address)) == address
    assert Address.parse(address.key) == address
    assert parse_index(address.task_id) == address.index


@given(st.lists(ADDRESSES, unique=True))
def test_keys_are_as_different_as_addresses(addresses: list[Address]) -> None:
    assert len({address.key for address in addresses}) == len(addresses)


@pytest.mark.parametrize(
    ("address", "text", "key"),
    [
        (Address("start"), "start", "start/_"),
        (Address("train", (0, 3)), "train/0.3", "train/0.3"),
        (Address("train", (0, 3), 2), "train@2/0.3", "train@2/0.3"),
        (Address("again", (), 12), "again@12", "again@12/_"),
        (Address("0step", (7,)), "0step/7", "0step/7"),
    ],
)
def test_forms(address: Address, text: str, key: str) -> None:
    assert (str(address), address.key) == (text, key)


@pytest.mark.parametrize(
    "text",
    ["", "/0", "train@", "train@0", "train@-1", "train/0.", "train/.0", "train/-1", "train/a", "../x", "a b", "Train"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="write step"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["1.", ".", "a", "-1", "1..2", "²", "1 2"])
def test_what_is_no_index(text: str) -> None:
    with pytest.raises(ValueError, match="is not an index"):
        parse_index(text)


def test_children() -> None:
    address = Address("a", (1,), 3)
    assert address.child("b") == Address("b", (1,))
    assert address.child("b", index=4, round=3) == Address("b", (1, 4), 3)


def test_order_is_numeric() -> None:
    texts = ["x/10", "x/9", "x/2.1", "x/2"]
    assert list(map(str, sorted(map(Address.parse, texts)))) == ["x/2", "x/2.1", "x/9", "x/10"]
