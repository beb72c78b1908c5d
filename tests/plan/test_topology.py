"""Names of hardware, the rates of its interconnect, and what a call takes at best."""

import importlib.util

import pytest

from pper_jax.errors import UserError
from pper_jax.plan.bounds import bound
from pper_jax.plan.chips import CHIPS, axis_rate
from pper_jax.plan.compiling import Compiled
from pper_jax.plan.gpus import DEVICES, target_config
from pper_jax.plan.hlo import Account
from pper_jax.plan.topology import devices_of, parse_topology


@pytest.mark.parametrize(
    ("text", "chip", "dims"),
    [
        ("v5e:16x16", "v5e", (16, 16)),
        (" V5P:4x4x4 ", "v5p", (4, 4, 4)),
        ("h100x8", "h100", (8,)),
        ("cpu:8", "cpu", (8,)),
        ("v4:2x2x1", "v4", (2, 2, 1)),
    ],
)
def test_names(text, chip, dims):
    found = parse_topology(text)
    assert (found.chip.name, found.dims) == (chip, dims)
    assert found.text == text.strip().lower()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("v9:2x2", "no hardware of that name"),
        ("", "no hardware of that name"),
        ("cpu", "no hardware of that name"),
        ("v5e:4x4x4", "comes as v5e:NxN"),
        ("v5e:16", "comes as v5e:NxN"),
        ("v5ex8", "comes as v5e:NxN"),
        ("h100:2x4", "comes as h100xN"),
        ("h100x16", "joins 1 to 8"),
        ("v5e:32x32", "joins 1 to 256"),
        ("cpu:0", "joins 1 to 512"),
    ],
)
def test_what_no_hardware_has_is_one_sentence(text, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_topology(text)


def test_every_chip_states_where_its_figures_stand():
    for chip in CHIPS.values():
        assert chip.source.startswith("https://") or chip.platform == "cpu"


def test_without_its_compiler_a_topology_is_one_sentence(monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "libtpu" else known(name))
    with pytest.raises(UserError, match="compiler for TPUs is not installed"):
        devices_of(parse_topology("v5e:2x2"))


def test_more_simulated_devices_than_there_are_is_one_sentence():
    with pytest.raises(UserError, match="XLA simulates 8 devices here"):
        devices_of(parse_topology("cpu:16"))
    assert len(devices_of(parse_topology("cpu:4"))) == 4


def test_a_gpus_description_holds_the_table_s_figures():
    assert set(DEVICES) == {chip.name for chip in CHIPS.values() if chip.platform == "cuda"}
    assert "memory_bandwidth: 3350000000000" in target_config(CHIPS["h100"])


@pytest.mark.parametrize(
    ("chip", "dims", "devices", "links"),
    [
        ("v5e", (4, 4), 4, 1),  # a line
        ("v5e", (16, 16), 16, 2),  # a ring, both ways
        ("v5e", (16, 16), 256, 4),  # both rings
        ("v5e", (4, 4), 16, 2),
        ("v5p", (4, 4, 4), 64, 6),
        ("v5p", (4, 4, 4), 16, 4),
        ("v5p", (2, 2, 1), 4, 2),
        ("v5e", (1, 1), 1, 1),
        ("h100", (8,), 8, 1),
    ],
)
def test_an_axis_has_the_links_of_the_rings_that_it_lies_along(chip, dims, devices, links):
    assert axis_rate(CHIPS[chip], dims, devices) == links * CHIPS[chip].link


def test_the_slowest_resource_binds():
    topology = parse_topology("v5e:16x16")
    account = Account(197e12 * 0.5, 819e9 * 0.25, {"all-gather/fsdp": 100e9 * 0.1, "all-reduce/tp": 50e9, "x/fsdp": 0})
    found = bound(Compiled(account), topology, {"data": 1, "fsdp": 16, "tp": 16})
    assert found.seconds == pytest.approx({"matrix products": 0.5, "memory": 0.25, "fsdp": 0.1, "tp": 0.5})
    assert found.at_least_s == pytest.approx(0.5)
    assert found.predicted_s == pytest.approx(0.5 + 0.1 + 0.5)
    assert bound(Compiled(Account(0, 819e9)), topology, {}).binds == "memory"


def test_simulated_devices_have_no_times():
    assert bound(Compiled(), parse_topology("cpu:8"), {}) is None
