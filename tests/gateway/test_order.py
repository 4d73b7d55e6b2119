"""A list of plugins in an order that cannot work does not start, and the right one is named."""

from __future__ import annotations

import itertools

import pytest

from gateway.config import Config, GatewayConfig
from gateway.convert import ConfigErrors
from gateway.plugins import load

SOURCE = '''"""A plugin of the tests."""
from gateway import hookimpl

class Plugin:
    {says}

    def __init__(self, config): pass

    @hookimpl
    def {hook}(self, exchange{more}): pass
'''


@pytest.fixture
def write(tmp_path):
    """Write a plugin's file and give its path."""

    def written(name: str, *, says: str = "", hook: str = "settle", more: str = "") -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(SOURCE.format(says=says, hook=hook, more=more))
        return str(path)

    return written


def fault(config: Config) -> str:
    with pytest.raises(ConfigErrors) as refused:
        load(config)
    (line,) = str(refused.value).splitlines()
    return line


def test_who_comes_after_another_is_refused_before_it_and_the_right_order_is_named(write):
    reads, prices = write("reads"), write("prices", says='after = ("reads",)')

    text = fault(Config(enabled=(prices, reads)))

    assert '"prices" has to stand after "reads"' in text
    assert 'the right order is ["reads", "prices"]' in text
    assert len(load(Config(enabled=(reads, prices))).plugins) == 2


def test_one_that_is_not_enabled_is_not_waited_for(write):
    assert load(Config(enabled=(write("prices", says='after = ("reads",)'),))).plugins


def test_the_last_in_a_hook_stands_after_all_who_have_it(write):
    sends = [write(f"s{n}", hook="send", more=", attempt") for n in range(2)]
    last = write("opens", says='last_in = ("send",)', hook="send", more=", attempt")
    other = write("watches")

    for listed in itertools.permutations([*sends, last, other]):
        where = listed.index(last)
        if all(listed.index(one) < where for one in sends):
            load(Config(enabled=listed))
        else:
            text = fault(Config(enabled=listed))
            assert '"opens" has to stand after "s' in text
            right = text.partition("right order is [")[2].partition("]")[0]
            names = [name.strip('" ') for name in right.split(",")]
            assert max(names.index("s0"), names.index("s1")) < names.index("opens")


def test_who_must_come_after_the_last_may(write):
    last = write("opens", says='last_in = ("send",)', hook="send", more=", attempt")
    after = write("after", says='after = ("opens",)', hook="send", more=", attempt")

    assert load(Config(enabled=(last, after))).plugins


def test_a_named_gateways_own_list_is_held_to_it_too(write):
    reads, prices = write("reads"), write("prices", says='after = ("reads",)')
    config = Config(enabled=(reads, prices), gateways={"b": GatewayConfig(enabled=(prices, reads))})

    assert "gateways.b" in fault(config)


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ('after = "reads"', "after = 'reads': wanted a tuple of names"),
        ('last_in = ("sned",)', "last_in: unknown hook sned"),
    ],
)
def test_what_cannot_be_meant_is_refused(write, says, text):
    assert text in fault(Config(enabled=(write("mine", says=says),)))
