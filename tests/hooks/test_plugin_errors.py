"""What a plugin does wrong is named with hook, file and line; --plugin-errors says what follows."""

import time

import pytest
from conftest import refused, run_script
from plugins_made import hooks_of, timeless, write

import train
from threetoe.errors import PluginError
from threetoe.export.export import Plan, write_all
from threetoe.hooks import specs as hookspecs
from threetoe.hooks.answers import PASSED_OVER, problem_of
from threetoe.hooks.load import load_plugins
from threetoe.options.export import ExportConfig
from threetoe.options.train import TrainConfig
from threetoe.run.record import Run

RAISES = "def map_reply(reply):\n    raise ValueError('no')\n"
ADDS = "def map_reply(reply):\n    return reply + '{}'\n"


def reply(hooks, text="-"):
    return hooks.chain("map_reply", "reply", text, messages=[])[0]


def test_warn_says_it_once_and_goes_on_without_the_answer(here, capsys):
    write(here, a=ADDS.format("a"), bad=RAISES, c=ADDS.format("c"))
    hooks = hooks_of("a.py", "bad.py", "c.py", plugin_errors=(("", "warn"),))
    assert [reply(hooks), reply(hooks)] == ["-ac", "-ac"]
    assert capsys.readouterr().err == (
        f"Plugin bad.py raised in map_reply ({here}/bad.py:2): ValueError: no "
        "(--plugin-errors warn: its answer is left out; more of these are counted)\n"
    )
    hooks.say_seconds()
    assert timeless(capsys.readouterr().err) == (
        "plugins: a N s in 2 calls, bad N s in 2 (2 failed), c N s in 2\n"
    )


def test_disable_calls_none_of_the_plugin_s_hooks_any_more(here, capsys):
    write(here, bad=RAISES + "def load_rows():\n    return [('a:1', {})]\n")
    hooks = hooks_of("bad.py", plugin_errors=(("bad", "disable"),))
    assert [reply(hooks), reply(hooks)] == ["-", "-"]
    assert not hooks.has("map_reply")
    assert hooks.first("load_rows", source="nothing", split="train", subset=None) is None
    assert capsys.readouterr().err.count("\n") == 1
    assert hooks.plugins[0].calls == 1


def test_a_policy_can_be_one_plugin_s(here):
    write(here, a=RAISES, b=RAISES)
    hooks = hooks_of("a.py", "b.py", plugin_errors=(("a", "warn"), ("", "stop")))
    with pytest.raises(PluginError, match=r"^Plugin b\.py raised"):
        reply(hooks)


def test_a_policy_for_a_plugin_that_is_not_there_is_one_line(here):
    write(here, scrub=ADDS.format(""))
    assert refused(train, "--plugin", "scrub.py", "--plugin-errors", "scrup=warn") == [
        "--plugin-errors scrup=warn: No plugin named 'scrup'. Did you mean 'scrub'? "
        "Available: scrub."
    ]
    (line,) = refused(train, "--plugin-errors", "scrub=wran")
    assert line == (
        "Invalid value for '--plugin-errors': 'wran' is not one of stop, warn, disable. "
        "Did you mean 'warn'?"
    )


def test_warn_covers_wrong_answers_too(here, capsys):
    write(here, bad="def map_reply():\n    return 3\n")
    assert reply(hooks_of("bad.py", plugin_errors=(("", "warn"),))) == "-"
    assert "map_reply returned int; return the reply, a str." in capsys.readouterr().err


def test_the_rows_whose_format_raises_are_counted_when_plugins_may_fail(here):
    (here / "a.jsonl").write_text('{"prompt": "q", "completion": "a"}\n{"mine": 1, "prompt": "q"}')
    write(
        here,
        bad="from threetoe.messages import Format\n"
        "def register_formats():\n"
        "    return {'mine': Format(('mine',), lambda row: 1 / 0)}\n",
    )
    flags = ["--plugin", "bad.py", "--plugin-errors", "warn", "--preview", 1, "--allow-dropped", 1]
    done = run_script("train.py", "--dataset", "a.jsonl", *flags, cwd=here)
    assert "raised in the format 'mine' (" in done.stderr
    assert "1 dropped: the format 'mine' of plugin bad.py raised (first: a.jsonl:2)" in done.stderr
    assert "plugins: bad N s in 2 calls (1 failed)\n" in timeless(done.stderr)


@pytest.mark.parametrize(
    ("hook", "answer", "problem"),
    [
        ("register_templates", {"mine": 3}, "returned int as 'mine'; return the path of a YAML"),
        ("register_datasets", {1: "a"}, "returned the name 1, which is int, not a text"),
        ("register_formats", {"mine": str}, "returned the class str as 'mine'; return a threetoe"),
        ("register_callbacks", {"a": object}, "returned the class object as 'a'; return an inst"),
        ("register_exporters", {"a": "zip"}, "returned str as 'a'; return a function"),
        ("load_rows", [{}], "gave dict, not (where, row)"),
        ("load_model", "model", "returned str; return a torch.nn.Module"),
        ("build_trainer", {}, "returned dict; return an object that has train()"),
        ("map_messages", ["Hi"], "returned a list with other things than messages"),
        ("map_request", None, "returned NoneType; return the messages, a list"),
        ("map_training_args", [], "returned list; return the arguments, a dict"),
    ],
)
def test_an_answer_of_another_kind_is_a_problem(hook, answer, problem):
    value = {"map_messages": [], "map_request": [], "map_training_args": {}}.get(hook)
    assert problem_of(hook, answer, value).startswith(problem)


def test_every_plugin_s_wrong_answer_names_hook_file_and_line(here):
    hooks = [h for h in vars(hookspecs) if h.startswith(("register_", "load_", "build_"))]
    write(here, bad="\n".join(f"def {hook}():\n    return object\n" for hook in hooks))
    loaded = hooks_of("bad.py")
    for number, hook in enumerate(hooks):
        with pytest.raises(PluginError) as raised:
            loaded.first(hook, **dict.fromkeys(["source", "adapter"]))
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
        hooks_of("bad.py").first("load_rows", source="x")


STREAM = "def load_rows():\n    yield 'a:1', {{}}\n    yield {}\n"


@pytest.mark.parametrize("policy", ["stop", "warn", "disable"])
@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("1 / 0", "raised in load_rows ({}/bad.py:3): ZeroDivisionError: division by zero"),
        ("{}", "load_rows gave dict, not (where, row): a text such as 'my.csv:3', and a dict. "
         "({}/bad.py:1)"),
    ],
)  # fmt: skip
def test_a_stream_that_goes_wrong_midway_stops_whatever_the_policy(second, said, policy, here):
    write(here, bad=STREAM.format(second))
    rows = hooks_of("bad.py", plugin_errors=(("", policy),)).first("load_rows", source="x")
    assert next(rows) == ("a:1", {})
    with pytest.raises(PluginError) as raised:
        next(rows)
    assert str(raised.value).endswith(said.replace("{}/", f"{here}/"))
    assert "bad.py" in str(raised.value)


@pytest.mark.parametrize("wrong", ["1 / 0", "{}", "('a:1', 3)"])
def test_a_stream_that_is_wrong_from_its_start_is_passed_over_where_plugins_may_fail(wrong, here):
    write(here, bad=f"def load_rows():\n    yield {wrong}\n",
          good="def load_rows():\n    yield 'b:1', {}\n")  # fmt: skip
    hooks = hooks_of("bad.py", "good.py", plugin_errors=(("", "warn"),))
    assert list(hooks.first("load_rows", source="x")) == [("b:1", {})]


def test_rows_of_a_plugin_are_taken_as_they_come(here):
    write(here, endless="from itertools import count\ndef load_rows(source, split, subset):\n"
          "    return ((f'{source} {split} {subset} {n}', {}) for n in count())\n")  # fmt: skip
    rows = hooks_of("endless.py").first("load_rows", source="x", split="dev", subset="s")
    assert [next(rows)[0] for _ in range(2)] == ["x dev s 0", "x dev s 1"]


@pytest.mark.parametrize("policy", ["stop", "warn"])
def test_an_exporter_that_raises_is_named_and_leaves_no_folder(policy, here, capsys):
    write(
        here,
        bad="def register_exporters():\n    return {'zip': _zip, 'txt': _txt}\n"
        "def _zip(run, folder, config):\n    (folder / 'a').mkdir()\n    raise KeyError('x')\n"
        "def _txt(run, folder, config):\n    (folder / 'a.txt').write_text('a')\n",
    )
    config = ExportConfig(plugin=("bad.py",), plugin_errors=(("", policy),))
    run = Run(options={}, template={}, marks={}, stop_ids=[], template_hash="")
    outputs = {"zip": here / "zip", "txt": here / "txt"}
    said = f"Plugin bad.py raised in the exporter 'zip' ({here}/bad.py:5): KeyError: 'x'"
    job = Plan(config, load_plugins(config), here, run, None, outputs)
    if policy == "stop":
        with pytest.raises(PluginError) as raised:
            write_all(job)
        assert str(raised.value) == said
    else:
        write_all(job)
        assert capsys.readouterr().err.startswith(said)
        assert (here / "txt" / "a.txt").read_text() == "a"
    assert not list(here.glob("zip*"))


def test_whatever_a_plugin_registers_can_be_called_under_guard(here, capsys):
    write(
        here, a="def register_exporters():\n    return {'zip': _zip}\ndef _zip():\n    return 1\n"
    )
    hooks = hooks_of("a.py", plugin_errors=(("", "warn"),))
    function, plugin = hooks.owned("register_exporters")["zip"]
    assert hooks.guarded_call(plugin, "the zip", function) == 1
    assert hooks.guarded_call(plugin, "the zip", function, "too many") is PASSED_OVER
    assert f"raised in the zip ({here}/a.py:3): TypeError" in capsys.readouterr().err


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
    with pytest.raises(PluginError) as raised, hooks.named_failures("training"):
        hooks.plugins[0].module._Trainer().train()
    assert str(raised.value) == (
        f"Plugin mine.py raised in training ({here}/mine.py:5): ZeroDivisionError: division by zero"
    )
    with pytest.raises(ZeroDivisionError), hooks.named_failures("training"):
        raise ZeroDivisionError


def test_ten_plugins_cost_little_on_fifty_thousand_rows(here):
    """Reading and encoding such rows takes some 300 µs each; ten hooks that do nothing, 9 µs."""
    names = [f"n{number}" for number in range(10)]
    write(here, **dict.fromkeys(names, "def map_messages(messages):\n    return messages\n"))
    hooks = hooks_of(*(f"{name}.py" for name in names))
    began = time.process_time()
    for _ in range(50_000):
        hooks.chain("map_messages", "messages", [], may_drop=True)
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
    assert done.stderr.splitlines()[6:] == [  # after the first step's
        "Error: Plugin halt.py raised in the callback 'halt', on_step_end at step 2 "
        f"({here}/halt.py:8): ValueError: boom"
    ]
    data = {"data.json", "data.jsonl", "data.png"}
    there = {file.name for file in (here / "run").iterdir()}
    assert there == data | {"metrics.jsonl", "prompts.jsonl", "run.partial.json"}
