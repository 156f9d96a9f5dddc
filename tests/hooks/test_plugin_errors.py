"""What a plugin does wrong is named with hook, file and line, and stops the work; what an after_
hook raises is told at the end."""

import time

import pytest
from conftest import refused, run_script
from plugins_made import hooks_of, timeless, write

import train
from threetoe.errors import PluginError
from threetoe.export.export import ExportJob, write_format
from threetoe.hooks import specs
from threetoe.hooks.answers import find_fault
from threetoe.hooks.load import load_plugins
from threetoe.options.export import ExportConfig
from threetoe.options.train import TrainConfig
from threetoe.run.record import Run


def reply(hooks, text="-"):
    return hooks.chain("map_reply", "reply", text, messages=[], config=None)[0]


def test_what_an_after_hook_raises_is_told_at_the_end_and_the_others_are_told(here, capsys):
    write(
        here,
        a="def after_train(folder):\n    raise ValueError('no')\n",
        b="from threetoe.api import UserError\n"
        "def after_train():\n    raise UserError('mend it')\n",
        c="def after_train(folder):\n    (folder / 'told').touch()\n",
    )
    hooks = hooks_of("a.py", "b.py", "c.py")
    hooks.tell("after_train", trainer=None, metrics={}, folder=here, config=None)
    assert (here / "told").exists()
    with pytest.raises(PluginError) as raised:
        hooks.end()
    assert raised.value.problems == [
        f"Plugin a.py raised in after_train ({here}/a.py:2): ValueError: no", "mend it"
    ]  # fmt: skip
    said = timeless(capsys.readouterr().err)
    assert said == "plugins: a N s in 1 call, b N s in 1 call, c N s in 1 call\n"


@pytest.mark.parametrize(
    "raises",
    [
        "raise ValueError('hf_abcdefghijklmnopqrstuv')",
        "raise type('Mine', (BaseException,), {})('hf_abcdefghijklmnopqrstuv')",
        "raise type('Mine', (Exception,), {'__str__': lambda self: 1 / 0})()",
        "import sys; sys.exit('hf_abcdefghijklmnopqrstuv')",
    ],
)
@pytest.mark.parametrize(
    "where", ["", "def map_messages():\n    ", "def register_templates():\n    "]
)
def test_whatever_a_plugin_raises_is_one_line_without_its_token(raises, where, here):
    (here / "a.jsonl").write_text('{"prompt": "q", "completion": "a"}\n')
    write(here, bad=f"def map_reply(reply):\n    return reply\n{where}{raises}\n")
    flags = ["--plugin", "bad.py", "--dataset", "a.jsonl"]
    (line,) = refused(train, *flags, code=1 if where else 2)
    assert line.startswith("Plugin bad.py ")
    assert f"({here}/bad.py:" in line
    assert "hf_" not in line


def test_a_module_with_a_getattr_of_its_own_is_a_plugin(here):
    write(here, mine="def map_reply(reply):\n    return reply + '!'\n"
          "def __getattr__(name):\n    raise KeyError(name)\n")  # fmt: skip
    assert reply(hooks_of("mine.py")) == "-!"


@pytest.mark.parametrize(
    ("hook", "answer", "problem"),
    [
        ("register_templates", {"mine": 3}, "returned int as 'mine'; return the path of a YAML"),
        ("register_datasets", {1: "a"}, "returned the name 1, which is int, not a text"),
        ("register_formats", {"mine": str}, "returned the class str as 'mine'; return a threetoe"),
        ("register_callbacks", {"a": object}, "returned the class object as 'a'; return an inst"),
        ("register_exporters", {"a": "zip"}, "returned str as 'a'; return a function"),
        ("load_rows", {}, "returned dict; return (where, row) pairs"),
        ("load_model", "model", "returned str; return a torch.nn.Module"),
        ("build_trainer", {}, "returned dict; return an object that has train()"),
        ("map_messages", ["Hi"], "returned a list with other things than messages"),
        ("map_request", None, "returned NoneType; return the messages, a list"),
        ("map_training_args", [], "returned list; return the arguments, a dict"),
    ],
)
def test_an_answer_of_another_kind_is_a_problem(hook, answer, problem):
    value = {"map_messages": [], "map_request": [], "map_training_args": {}}.get(hook)
    assert find_fault(hook, answer, value).startswith(problem)


def test_every_plugin_s_wrong_answer_names_hook_file_and_line(here):
    hooks = [h for h in vars(specs) if h.startswith(("register_", "load_", "build_"))]
    write(here, bad="\n".join(f"def {hook}():\n    return object\n" for hook in hooks))
    loaded = hooks_of("bad.py")
    for number, hook in enumerate(hooks):
        with pytest.raises(PluginError) as raised:
            loaded.first(hook, **dict.fromkeys(["source", "adapter", "config"]))
        assert str(raised.value).startswith(f"Plugin bad.py: {hook} returned the class object")
        assert str(raised.value).endswith(f"({here}/bad.py:{3 * number + 1})")


def test_a_hook_that_ends_the_program_is_named(here):
    write(here, bad="import sys\ndef map_reply():\n    sys.exit(0)\n")
    with pytest.raises(PluginError) as raised:
        reply(hooks_of("bad.py"))
    assert (
        str(raised.value) == f"Plugin bad.py raised in map_reply ({here}/bad.py:3): SystemExit: 0"
    )


def test_rows_are_read_where_their_plugin_is_named(here):
    write(here, bad="def load_rows():\n    return map(lambda n: 1 / n, [0])\n")
    with pytest.raises(PluginError, match=r"^Plugin bad\.py raised in load_rows .*bad\.py:2"):
        list(hooks_of("bad.py").first("load_rows", source="x"))


STREAM = "def load_rows():\n    yield 'a:1', {{}}\n    yield {}\n"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("1 / 0", "raised in load_rows ({}/bad.py:3): ZeroDivisionError: division by zero"),
        ("{}", "load_rows gave dict, not (where, row): a text such as 'my.csv:3', and a dict. "
         "({}/bad.py:1)"),
    ],
)  # fmt: skip
def test_a_stream_that_goes_wrong_midway_is_named(second, said, here):
    write(here, bad=STREAM.format(second))
    rows = hooks_of("bad.py").first("load_rows", source="x")
    assert next(rows) == ("a:1", {})
    with pytest.raises(PluginError) as raised:
        next(rows)
    assert str(raised.value).endswith(said.replace("{}/", f"{here}/"))
    assert "bad.py" in str(raised.value)


def test_rows_of_a_plugin_are_taken_as_they_come(here):
    write(here, endless="from itertools import count\ndef load_rows(source, split, subset):\n"
          "    return ((f'{source} {split} {subset} {n}', {}) for n in count())\n")  # fmt: skip
    rows = hooks_of("endless.py").first("load_rows", source="x", split="dev", subset="s")
    assert [next(rows)[0] for _ in range(2)] == ["x dev s 0", "x dev s 1"]


def test_an_exporter_that_raises_is_named_and_leaves_no_folder(here):
    write(
        here,
        bad="def register_exporters():\n    return {'zip': _zip}\n"
        "def _zip(run, folder, config):\n    (folder / 'a').mkdir()\n    raise KeyError('x')\n",
    )
    config = ExportConfig(plugin=("bad.py",))
    run = Run(options={}, template={}, marks={}, stop_ids=[], template_hash="")
    job = ExportJob(config, load_plugins(config), here, run, None, {"zip": here / "zip"})
    with pytest.raises(PluginError) as raised:
        write_format(job, "zip", here / "zip")
    assert str(raised.value) == (
        f"Plugin bad.py raised in the exporter 'zip' ({here}/bad.py:5): KeyError: 'x'"
    )
    assert not list(here.glob("zip*"))


def test_the_time_spent_in_hooks_is_counted(here):
    write(
        here,
        slow="import time\ndef load_rows(source):\n"
        "    for n in range(2):\n        time.sleep(0.03)\n        yield source, {}\n",
    )
    hooks = load_plugins(TrainConfig(plugin=("slow.py",)))
    list(hooks.first("load_rows", source="x"))
    assert 0.06 <= hooks.seconds()["slow"] < 1


def test_a_failure_while_training_that_came_through_a_plugin_is_named(here):
    write(here, mine="def map_reply(reply):\n    return _Trainer\nclass _Trainer:\n"
          "    def train(self):\n        return 1 / 0\n")  # fmt: skip
    hooks = hooks_of("mine.py")
    with pytest.raises(PluginError) as raised, hooks.name_culprit("training"):
        hooks.plugins[0].module._Trainer().train()
    assert str(raised.value) == (
        f"Plugin mine.py raised in training ({here}/mine.py:5): ZeroDivisionError: division by zero"
    )
    with pytest.raises(ZeroDivisionError), hooks.name_culprit("training"):
        raise ZeroDivisionError


def test_ten_plugins_cost_little_on_fifty_thousand_rows(here):
    """Reading and encoding such rows takes some 300 µs each; ten hooks that do nothing, 9 µs."""
    names = [f"n{number}" for number in range(10)]
    write(here, **dict.fromkeys(names, "def map_messages(messages):\n    return messages\n"))
    hooks = hooks_of(*(f"{name}.py" for name in names))
    began = time.process_time()
    for _ in range(50_000):
        hooks.chain("map_messages", "messages", [], may_drop=True, config=None)
    assert time.process_time() - began < 2


HALT = """def register_callbacks():
    from transformers import TrainerCallback

    class Halt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            print("step", state.global_step)
            if state.global_step >= 2:
                raise ValueError("boom")

    return {"halt": Halt()}
"""


def test_a_callback_that_raises_names_the_step_and_the_folder_stays_partial(here):
    write(here, halt=HALT)
    flags = ["--max-steps", 3, "--output-dir", "run", "--plugin", "halt.py"]
    done = run_script("train.py", *flags, cwd=here, code=1)
    assert done.stdout == "step 1\nstep 2\n"
    assert done.stderr.splitlines()[-1] == (
        "Error: Plugin halt.py raised in the callback 'halt', on_step_end at step 2 "
        f"({here}/halt.py:8): ValueError: boom"
    )
    there = {file.name for file in (here / "run").iterdir()}
    assert "run.partial.json" in there and not there & {"run.json", "adapter_model.safetensors"}
