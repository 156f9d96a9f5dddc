"""--set: typed settings that plugins declare; what is wrong with one is a line that names it."""

import pytest
from conftest import refused
from options_given import given
from plugins_made import hooks_of, write

import train
from threetoe.errors import UserError
from threetoe.options.train import TrainConfig

SETTINGS = """from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    word: str = "x"
    limit: int = 3
    share: float = 0.5
    loud: bool = False


"""
SAYS = SETTINGS + "def map_reply(reply, settings):\n    return f'{settings}'\n"


def values(*pairs, plugins=("a.py",)):
    """The settings of the first plugin, with these pairs of --set."""
    return vars(hooks_of(*plugins, settings=pairs).plugins[0].settings)


def test_settings_have_their_defaults_until_they_are_set(here):
    write(here, a=SAYS)
    assert values() == {"word": "x", "limit": 3, "share": 0.5, "loud": False}
    hooks = hooks_of("a.py", settings=(("limit", "7"),))
    assert "limit=7" in hooks.chain("map_reply", "reply", "", messages=[], config=None)[0]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("word", "7", "7"), ("word", "", ""), ("limit", "-2", -2), ("share", "1e-3", 0.001),
        ("loud", "yes", True), ("loud", "True", True), ("loud", "1", True), ("loud", "no", False),
        ("loud", "false", False), ("loud", "0", False), ("a.word", "y", "y"),
    ],
)  # fmt: skip
def test_a_setting_has_the_type_that_is_declared(name, text, value, here):
    write(here, a=SAYS)
    found = values((name, text))[name.rpartition(".")[2]]
    assert (found, type(found)) == (value, type(value))


def test_any_hook_takes_settings_among_its_other_arguments(here):
    write(here, a=SETTINGS + "def map_reply(settings, reply, config):\n"
          "    return f'{settings.word}{reply}{config.lora_r}'\n")  # fmt: skip
    hooks, known = hooks_of("a.py"), {"messages": [], "config": TrainConfig()}
    assert hooks.chain("map_reply", "reply", "-", **known)[0] == "x-16"


def test_two_plugins_with_the_same_setting_are_told_apart_by_their_names(here):
    write(here, a=SAYS, b=SAYS)
    hooks = hooks_of("a.py", "b.py", settings=(("b.limit", "1"),))
    assert [plugin.settings.limit for plugin in hooks.plugins[:2]] == [3, 1]
    assert refused(train, "--plugin", "a.py", "--plugin", "b.py", "--set", "limit=1") == [
        "--set limit=1: several plugins have a setting 'limit'; say --set a.limit=1 or "
        "--set b.limit=1."
    ]


KNOWN = (
    "Settings: a.word (str, 'x' unless set), a.limit (int, 3 unless set), a.share (float, 0.5 "
    "unless set), a.loud (bool, False unless set)."
)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("limt=1", f"no plugin has a setting 'limt'. Did you mean 'limit'? {KNOWN}"),
        ("b.limit=1", f"no plugin has a setting 'b.limit'. Did you mean 'a.limit'? {KNOWN}"),
        ("limit=1.5", "a.limit (int, 3 unless set): '1.5' is not a valid integer."),
        ("share=nan", "a.share (float, 0.5 unless set): nan is not a finite number."),
        ("loud=ja", "a.loud (bool, False unless set): 'ja' is not a valid boolean."),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line(given, problem, here):
    write(here, a=SAYS)
    (line,) = refused(train, "--plugin", "a.py", "--set", given)
    assert line.startswith(f"--set {given}: {problem}")


def test_a_setting_without_a_plugin_that_declares_it_says_so(here):
    write(here, a="def map_reply(reply):\n    return reply\n")
    end = "name the one that does with --plugin."
    assert refused(train, "--set", "limit=1") == [f"--set limit=1: there is no plugin; {end}"]
    assert refused(train, "--plugin", "a.py", "--set", "limit=1") == [
        f"--set limit=1: none of the plugins (a) declares settings; {end}"
    ]
    assert refused(train, "--plugin", "b.py", "--set", "limit=1") == [
        "Plugin b.py: No such file: b.py."
    ]
    (line,) = refused(train, "--set", "limit")
    assert line == "Invalid value for '--set': 'limit' is not of the form NAME=VALUE."


HEAD = "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass Settings:\n"
HOOK = "def map_reply(reply, settings):\n    return reply\n"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (HOOK, "map_reply takes 'settings', but the plugin declares none: write a frozen dataclass "
         "Settings. (HERE/a.py:1)"),
        (HEAD.replace("(frozen=True)", "") + "    limit: int = 1\n" + HOOK,
         "write @dataclass(frozen=True) above Settings. (HERE/a.py:2)"),
        ("class Settings:\n    limit = 1\n" + HOOK,
         "Settings is the class Settings, not a frozen dataclass."),
        (HEAD + "    limit: int = 1\n    words: list = field(default_factory=list)\n" + HOOK,
         "Settings.words is list; a setting is one of str, int, float, bool. (HERE/a.py:2)"),
        (HEAD + "    limit: int\n" + HOOK,
         "Settings.limit needs a default that is int, as in 'limit: int = ...'. (HERE/a.py:2)"),
        (HEAD + "    loud: bool = 1\n" + HOOK,
         "Settings.loud needs a default that is bool, as in 'loud: bool = ...'. (HERE/a.py:2)"),
        (HEAD + "    word: 'str' = None\n" + HOOK,
         "Settings.word needs a default that is str, as in 'word: str = ...'. (HERE/a.py:2)"),
        (HEAD + "    limit: int = 1\n    def __post_init__(self):\n        self.limit / 0\n" + HOOK,
         "its Settings refuse their defaults: ZeroDivisionError: division by zero (HERE/a.py:2)"),
    ],
    ids=["none", "not-frozen", "no-dataclass", "list", "no-default", "bool", "None", "refuses"],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_named_with_their_place(source, problem, here):
    write(here, a=source)
    problem = problem.replace("HERE", str(here))
    assert refused(train, "--plugin", "a.py") == [f"Plugin a.py: {problem}"]


def test_a_plugin_may_refuse_values_in_its_own_words(here):
    check = (
        "    def __post_init__(self):\n"
        "        if self.limit < 1:\n            raise ValueError('limit is 1 or more')\n"
    )
    write(here, a=HEAD + "    limit: int = 1\n" + check + HOOK)
    with pytest.raises(UserError) as raised:
        hooks_of("a.py", settings=(("limit", "0"),))
    assert str(raised.value) == (
        "Plugin a.py: its Settings refuse {'limit': 0}: ValueError: limit is 1 or more "
        f"({here}/a.py:2)"
    )


@pytest.mark.parametrize("text", ["{limit: 1, loud: yes}", "[[limit, 1], [loud, yes]]"])
def test_settings_in_yaml_are_a_mapping_that_flags_add_to(text, here):
    yaml = f"settings: {text}"
    assert given(yaml=yaml).settings == (("limit", "1"), ("loud", "true"))
    config = given("--set", "limit=2", yaml=yaml)
    assert config.settings == (("limit", "1"), ("loud", "true"), ("limit", "2"))
    write(here, a=SAYS)
    assert values(*config.settings)["limit"] == 2
