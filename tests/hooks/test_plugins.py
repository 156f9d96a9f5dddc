"""Plugins: how they are found, ordered, checked and called, and that a faulty one is named."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, refused, run_script
from plugins_made import hooks_of, install_fixture, write  # noqa: F401  the fixture `install`

import train
from threetoe.errors import Checks, PluginError, UserError
from threetoe.hooks import specs
from threetoe.hooks.load import load_plugins
from threetoe.hooks.plugin import BUILTIN
from threetoe.options.train import TrainConfig

HOOKS = [name for name in vars(specs) if name.startswith(specs.PREFIXES)]
MARK = "def map_reply(reply):\n    return reply + '{}'\n"


def problems_of(*plugins):
    with pytest.raises(UserError) as raised:
        hooks_of(*plugins)
    return raised.value.problems


def test_named_plugins_come_first_then_installed_ones_then_the_builtin(install, here):
    write(here, b=MARK.format("b"), a=MARK.format("a"))
    install("tail_z", MARK.format("z") + "def load_rows():\n    return [('z:1', {})]\n")
    install("tail_y", MARK.format("y"))
    hooks = hooks_of("b.py", "a.py")
    assert hooks.chain("map_reply", "reply", "", messages=[], config=None) == ("bayz", None)
    assert list(hooks.first("load_rows", source="x")) == [("z:1", {})]
    (answered,) = hooks.answers("register_templates", config=None)
    assert answered[0].plugin.name == BUILTIN


def test_naming_an_installed_plugin_brings_it_forward(install, here):
    write(here, a=MARK.format("a"))
    install("tail_x", MARK.format("x"))
    assert (
        hooks_of("tail_x", "a.py").chain("map_reply", "reply", "", messages=[], config=None)[0]
        == "xa"
    )


def test_plugins_are_listed_in_their_order_with_where_they_are_from(install, here):
    install("tail_l", MARK.format("l"))
    install("tail_m", MARK.format("m"))
    write(here, a=MARK.format("a") + "def after_train():\n    pass\n")
    listed = [
        (p.name, p.stem, p.origin, p.package, p.hooks) for p in hooks_of("tail_m", "a.py").plugins
    ]
    assert listed[:-1] == [
        ("tail_m", "tail_m", "named", ("tail_m", "1.0"), ("map_reply",)),
        ("a.py", "a", "named", None, ("after_train", "map_reply")),
        ("tail_l (of tail_l 1.0)", "tail_l", "installed", ("tail_l", "1.0"), ("map_reply",)),
    ]
    assert listed[-1][:3] == (BUILTIN, "builtin", "built-in")


def test_every_hook_says_since_which_version_it_is_there():
    for hook in HOOKS:
        assert re.search(r"\bSince \d+\.\d+\.\s*$", getattr(specs, hook).__doc__), hook


def test_a_plugin_can_be_a_package_s_module(here, monkeypatch):
    monkeypatch.syspath_prepend(here)
    (here / "mine_pkg").mkdir()
    (here / "mine_pkg" / "deep.py").write_text(MARK.format("!"))
    hooks = hooks_of("mine_pkg.deep")
    assert hooks.chain("map_reply", "reply", "a", messages=[], config=None) == ("a!", None)


def test_nothing_is_discovered_from_the_current_folder(here):
    (here / "plugins").mkdir()
    write(here / "plugins", a=MARK.format("a"))
    write(here, plugin=MARK.format("b"))
    assert hooks_of().chain("map_reply", "reply", "", messages=[], config=None)[0] == ""


def test_loading_a_plugin_leaves_nothing_beside_it(here):
    hooks_of(write(here, a=MARK.format("a")))
    assert [path.name for path in here.iterdir()] == ["a.py"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("", []),
        ("reply", ["reply"]),
        ("messages", ["messages"]),
        ("config, messages", ["config", "messages"]),
        ("*, config", ["config"]),
        ("reply, config=0", ["reply", "config"]),
    ],
)
def test_a_hook_takes_any_of_its_arguments_in_any_order(arguments, names, here):
    hooks = hooks_of(write(here, a=f"def map_reply({arguments}):\n    return str(locals())\n"))
    known = {"reply": "a", "messages": ["m"], "config": 3}
    answer, _ = hooks.chain("map_reply", "reply", "a", messages=["m"], config=3)
    assert answer == str({name: known[name] for name in names})


def test_two_plugins_that_register_one_name_are_both_named(here):
    taken = "def register_datasets():\n    return {'mine': 'mine.yaml'}\n"
    write(here, a=taken, b=taken)
    with pytest.raises(UserError) as raised:
        hooks_of("a.py", "b.py").merge("register_datasets", config=None)
    assert str(raised.value) == (
        f"register_datasets: 'mine' comes from both a.py ({here}/a.py:1) and b.py ({here}/b.py:1); "
        "rename one."
    )


def test_a_plugin_cannot_hide_what_is_built_in(here):
    write(here, a="def register_templates():\n    return {'alpaca': 'mine.yaml'}\n")
    assert refused(train, "--plugin", "a.py") == [
        f"register_templates: 'alpaca' comes from both a.py ({here}/a.py:1) and threetoe.builtin; "
        "rename one."
    ]


def test_what_plugins_register_merges(here):
    write(
        here,
        a="def register_templates():\n    return {'one': '1.yaml'}\n",
        b="def register_templates():\n    return None\n",
    )
    merged = hooks_of("a.py", "b.py").merge("register_templates", config=None)
    assert list(merged)[0] == "one"
    assert "alpaca" in merged


def test_the_first_answer_wins_over_the_builtin(here):
    rows = (
        "def load_rows(source):\n    return [(source, {{'{}': 1}})] if source != 'no' else None\n"
    )
    write(here, a="def load_rows():\n    return None\n", b=rows.format("b"), c=rows.format("c"))
    hooks = hooks_of("a.py", "b.py", "c.py")
    assert list(hooks.first("load_rows", source="x.csv")) == [("x.csv", {"b": 1})]
    assert (
        hooks.first("load_rows", source="no", split="train", subset=None, config=TrainConfig())
        is None
    )


def test_only_map_messages_may_drop(here):
    none = "def map_reply():\n    pass\ndef map_messages():\n    pass\n"
    hooks = hooks_of(write(here, a=none))
    assert hooks.chain("map_messages", "messages", [], may_drop=True) == (None, "a.py")
    with pytest.raises(PluginError) as raised:
        hooks.chain("map_reply", "reply", "text", messages=[], config=None)
    assert str(raised.value) == (
        f"Plugin a.py: map_reply returned NoneType; return the reply, a str. ({here}/a.py:1)"
    )


def test_an_after_hook_s_answer_is_ignored(here):
    hooks = hooks_of(write(here, a="def after_export(format, folder):\n    return 'nonsense'\n"))
    assert hooks.tell("after_export", format="adapter", folder=here, config=None) is None


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (None, "Plugin bad.py: No such file: bad.py. Did you mean 'bat.py'?"),
        ("def map_reply(:\n", "Plugin bad.py is not Python: invalid syntax (HERE/bad.py:1)."),
        ("x = 1\n1 / 0\n",
         "Plugin bad.py cannot be loaded: ZeroDivisionError: division by zero (HERE/bad.py:2)"),
        ("import nowhere.at_all\n",
         "Plugin bad.py cannot be loaded: ModuleNotFoundError: No module named 'nowhere' "
         "(HERE/bad.py:1)"),
        ("import sys\nsys.exit('bye')\n",
         "Plugin bad.py cannot be loaded: SystemExit: bye (HERE/bad.py:2)"),
        ("raise ValueError('one\\ntwo')\n",
         "Plugin bad.py cannot be loaded: ValueError: one (HERE/bad.py:1)"),
        ("\n\ndef map_mesages(messages):\n    return messages\n",
         "Plugin bad.py: there is no hook 'map_mesages'. Did you mean 'map_messages'? "
         "A helper's name may start with an underscore. (HERE/bad.py:3)"),
        ("def map_reply(replies):\n    return replies\n",
         "Plugin bad.py: map_reply has no argument 'replies'. Did you mean 'reply'? "
         "It may take: reply, messages, config. (HERE/bad.py:1)"),
        ("def map_reply(**all):\n    return all\n",
         "Plugin bad.py: map_reply has no argument '**all'. It may take: reply, messages, config. "
         "(HERE/bad.py:1)"),
        ("from os.path import join\ndef helper():\n    pass\n",
         "Plugin bad.py has no hooks of its own (imported ones do not count). "
         f"Known hooks: {', '.join(HOOKS)}."),
    ],
    ids=[
        "missing", "syntax", "raises", "needs-a-package", "exits", "many-lines", "misspelled",
        "argument", "stars", "no-hooks",
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_used_is_named_in_one_line(source, problem, here):
    write(here, bat=MARK.format(""), **({"bad": source} if source else {}))
    assert refused(train, "--plugin", "bad.py") == [problem.replace("HERE", str(here))]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mine", "no module of that name is installed; a file's name ends in .py. Did you mean 'm"),
        ("mine.deep", "no module of that name is installed; a file's name ends in .py."),
        ("threetoe.nowhere", "no module of that name is installed; a file's name ends in .py."),
        ("./mine", "no module of that name is installed; a file's name ends in .py. Did you"),
        ("", "no module of that name is installed; a file's name ends in .py."),
    ],
)  # fmt: skip
def test_a_module_that_is_not_installed_is_named(name, problem, here):
    write(here, mine=MARK.format(""))
    (line,) = problems_of(name)
    assert line.removeprefix(f"Plugin {name}").lstrip(": ").startswith(problem)


@pytest.mark.parametrize("again", ["a.py", "./a.py", "deep/../a.py"])
def test_a_plugin_named_twice_is_refused(again, here):
    (here / "deep").mkdir()
    write(here, a=MARK.format(""))
    assert problems_of("a.py", again) == [f"Plugin {again} is named twice."]


def test_every_faulty_plugin_is_reported_in_the_order_of_loading(install, here):
    install("faulty", MARK.format("!"), point="faulty:nothing")
    install("function", MARK.format("!"), point="function:map_reply")
    problems = problems_of("z.py", "b.py")
    assert problems[0].startswith("Plugin z.py: No such file")
    assert problems[1].startswith("Plugin b.py: No such file")
    assert problems[2].startswith("Plugin faulty:nothing (of faulty 1.0) cannot be loaded: Attrib")
    assert problems[3] == (
        "Plugin function:map_reply (of function 1.0) is function, not a module with hooks."
    )


def test_plugins_that_can_be_used_are_returned_beside_the_problems_of_others(here):
    write(here, good=MARK.format("!"))
    checks = Checks()
    hooks = load_plugins(TrainConfig(plugin=("bad.py", "good.py")), checks)
    assert hooks.chain("map_reply", "reply", "a", messages=[], config=None)[0] == "a!"
    assert [problem.partition(":")[0] for problem in checks.problems] == ["Plugin bad.py"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    return messages[7]\n", "IndexError: list index out of range"),
        ("    raise ValueError\n", "ValueError"),
        ("    raise ValueError('one\\ntwo')\n", "ValueError: one"),
    ],
    ids=["indirect", "silent", "many-lines"],
)
def test_a_hook_that_raises_names_plugin_hook_file_and_line(body, said, here):
    (here / "a.jsonl").write_text('{"prompt": "q", "completion": "a"}\n')
    write(here, bad=f"# A plugin.\ndef map_messages(messages):\n{body}")
    (line,) = refused(train, "--plugin", "bad.py", "--dataset", "a.jsonl", code=1)
    assert line == f"Plugin bad.py raised in map_messages ({here}/bad.py:3): {said}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def map_messages():\n    return 'text'\n",
         "map_messages returned str; return the messages, a list."),
        ("def register_formats():\n    return ['mine']\n",
         "register_formats returned list, not a dict."),
        ("def load_rows():\n    yield 1 / 0\n", "raised in load_rows"),
        ("def register_formats():\n"
         "    from threetoe.api import Format\n"
         "    return {'mine': Format(('prompt',), lambda row: row['gone'])}\n",
         "raised in the format 'mine' (HERE/bad.py:3): KeyError: 'gone'"),
    ],
    ids=["no-list", "no-dict", "rows-on-the-way", "format"],
)  # fmt: skip
def test_a_hook_that_answers_nonsense_is_a_failure_that_names_it(source, said, here):
    (here / "a.jsonl").write_text('{"prompt": "q", "completion": "a"}\n')
    write(here, bad=source)
    (line,) = refused(train, "--plugin", "bad.py", "--dataset", "a.jsonl", code=1)
    assert said.replace("HERE", str(here)) in line
    assert "bad.py" in line


def test_a_plugin_s_own_user_error_is_the_user_s(here):
    write(
        here,
        a="from threetoe.api import UserError\n"
        "def load_rows(source):\n    raise UserError(f'{source}: ask Ann for the password.')\n",
    )
    lines = refused(train, "--plugin", "a.py", "--dataset", "db://rows")
    assert lines == ["db://rows: ask Ann for the password."]


def test_rows_that_a_plugin_loads_are_previewed_without_any_built_in_source(here):
    write(
        here,
        dice="def load_rows(source):\n"
        "    for n in range(3):\n"
        "        yield f'{source}[{n}]', {'prompt': f'q{n}', 'completion': f'a{n}'}\n",
    )
    shown = run_script(
        "train.py", "--plugin", "dice.py", "--dataset", "dice", "--preview", 2, cwd=here
    )
    assert "dice[0]" in shown.stdout and "a1" in shown.stdout
    assert "3 rows read from dice, 3 to train on" in shown.stderr


@pytest.mark.parametrize(
    ("imports", "loaded"),
    [
        ("import os, transformers", ["unsloth", "transformers"]),
        ("from transformers import TrainerCallback", ["unsloth", "transformers"]),
        ("def map_card(card):\n    import transformers\n    return card", []),
    ],
)
def test_unsloth_is_imported_before_what_a_plugin_imports_at_its_top(imports, loaded, tmp_path):
    """Beside libraries that only say that they are imported: the real ones take seconds."""
    (tmp_path / "mine.py").write_text(f"{imports}\ndef map_reply(reply): ...\n", encoding="utf-8")
    for name in ("unsloth", "transformers"):
        said = f"import sys\nTrainerCallback = print('{name}', file=sys.stderr)\n"
        (tmp_path / f"{name}.py").write_text(said, encoding="utf-8")
    script = (
        "from threetoe.options.shared import Common\n"
        "from threetoe.hooks.load import load_plugins\n"
        "load_plugins(Common(plugin=('mine.py',)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )  # fmt: skip
    assert (done.stdout, done.stderr.split()) == ("", loaded)
