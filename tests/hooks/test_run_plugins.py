"""A run's plugins: recorded with their hashes, and used again by infer.py and export.py."""

import json
import shutil
from dataclasses import replace

import pytest
from conftest import refused, run_script
from plugins_made import install_fixture, timeless, write  # noqa: F401  the fixture `install`

import infer
import train
from threetoe.hooks import of_run
from threetoe.hooks.load import load_plugins
from threetoe.hooks.of_run import as_record, note_used
from threetoe.hooks.plugin import hash_file
from threetoe.machine.files import write_json
from threetoe.options.export import ExportConfig
from threetoe.options.infer import InferConfig
from threetoe.options.train import TrainConfig
from threetoe.run.contract import recorded
from threetoe.run.record import load, without_paths

POLITE = """from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    end: str = "!"


def map_reply(reply, settings):
    return reply.strip() + settings.end
"""
COUNT = """def register_callbacks():
    from transformers import TrainerCallback

    class Count(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            print("step", state.global_step)

    return {"count": Count()}
"""
MARK = "def map_reply(reply):\n    return reply + '{}'\n"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a run of three steps, two plugins, and what training printed."""
    folder = tmp_path_factory.mktemp("trained")
    write(folder, polite=POLITE, count=COUNT)
    flags = ["--plugin", "polite.py", "--plugin", "count.py", "--set", "end=??"]
    printed = run_script("train.py", "--max-steps", 3, "--output-dir", "run", *flags, cwd=folder)
    return folder, printed


@pytest.fixture
def run(trained, here, monkeypatch):
    """The record of that run, in a folder `run` of its own, with its plugins beside it, as if they
    had been there when it was trained."""
    monkeypatch.setattr(of_run, "USED", here / "plugins.txt")
    (here / "run").mkdir()
    for name in ("polite.py", "count.py"):
        shutil.copyfile(trained[0] / name, here / name)
    record = (trained[0] / "run" / "run.json").read_text(encoding="utf-8")
    record = record.replace(json.dumps(str(trained[0]))[1:-1], json.dumps(str(here))[1:-1])
    (here / "run" / "run.json").write_text(record, encoding="utf-8")
    set_to = InferConfig(plugin=("polite.py", "count.py"), settings=(("end", "??"),))
    note_used(load_plugins(set_to).theirs())
    return here / "run"


def asked(run, **options):
    """What infer.py would load, and say, for this run."""
    config = InferConfig(run=run, **options)
    hooks = load_plugins(config, run=recorded(config))
    return hooks.chain("map_reply", "reply", "a", messages=[], config=None)[0], hooks.notes


def changed(run, **values):
    """Change the record of the run's first plugin."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record["plugins"][0] |= values
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")


def test_training_tells_the_time_that_plugins_took(trained):
    folder, printed = trained
    assert printed.stdout == "step 1\nstep 2\nstep 3\n"
    assert timeless(printed.stderr).endswith(
        "plugins: polite N s in 0 calls, count N s in 4 calls\n"
    )
    metrics = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))["metrics"]
    assert set(metrics["plugin_seconds"]) == {"polite", "count"}


def test_the_record_names_every_plugin_with_its_file_and_hash(trained):
    folder, _ = trained
    record = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["plugins"][0] == {
        "name": "polite.py", "stem": "polite", "origin": "named",
        "file": str(folder / "polite.py"), "distribution": None, "version": None,
        "sha256": hash_file(folder / "polite.py"), "settings": {"end": "??"},
    }  # fmt: skip
    assert record["options"]["plugin"] == ["polite.py", "count.py"]


def test_infer_uses_the_run_s_plugins_and_settings_again(trained):
    folder, _ = trained
    (folder / "questions.jsonl").write_text('{"prompt": "Hi"}\n')
    done = run_script(
        "infer.py", "--run", "run", "--file", "questions.jsonl", "--max-new-tokens", 2, cwd=folder
    )
    assert json.loads(done.stdout)["answer"].endswith("??")
    assert timeless(done.stderr).endswith("plugins: polite N s in 1 call, count N s in 0 calls\n")


def test_settings_of_a_run_are_kept_until_they_are_set(run):
    assert asked(run) == ("a??", [])
    assert asked(run, settings=(("end", "."),)) == ("a.", [])
    assert asked(run, plugin=("polite.py",)) == ("a??", [])
    assert asked(run, run_plugins=False) == ("a", [])


def test_the_run_s_plugins_come_behind_named_and_before_installed_ones(run, install):
    install("tail_r", MARK.format("r"))
    write(run.parent, first=MARK.format("1"))
    assert asked(run, plugin=("first.py",))[0] == "a1??r"


@pytest.mark.parametrize("script", [InferConfig, ExportConfig])
def test_a_plugin_that_has_changed_is_not_used_unless_it_is_named(script, run):
    (run.parent / "polite.py").write_text(MARK.format("new"))
    config = script(run=run)
    assert load_plugins(config, run=recorded(config)).notes == [
        f"plugin polite.py of this run is not used: {run.parent}/polite.py has changed since; "
        "name it with --plugin to use it as it is"
    ]
    assert asked(run, plugin=("polite.py",)) == ("anew", [])


def test_a_plugin_that_is_gone_is_not_used(run):
    (run.parent / "polite.py").rename(run.parent / "kind.py")
    assert asked(run) == ("a", [
        f"plugin polite.py of this run is not used: {run.parent}/polite.py is not there any more; "
        "name it with --plugin where it is"
    ])  # fmt: skip
    assert asked(run, plugin=("kind.py",)) == ("a??", [])


def test_code_is_never_taken_from_a_run_folder(run):
    code = "open('ran', 'w').close()\n" + POLITE
    for place in ("polite.py", "deep/polite.py"):
        (run / place).parent.mkdir(exist_ok=True)
        (run / place).write_text(code)
        changed(run, file=str(run / place), sha256=hash_file(run / place))
        reply, (note,) = asked(run)
        assert reply == "a"
        assert "lies in the run's folder, from which no code is taken" in note
    (run / "linked.py").symlink_to(run.parent / "polite.py")  # as in the cache of the Hub
    changed(run, file=str(run / "linked.py"), sha256=hash_file(run / "linked.py"))
    assert asked(run)[0] == "a"
    assert not (run.parent / "ran").exists()


def test_code_that_only_a_record_names_is_not_run(run):
    """A folder that someone sends, with code beside the run and a record that fits it."""
    (run.parent / "sent.py").write_text("open('ran', 'w').close()\n" + POLITE)
    changed(run, file=str(run.parent / "sent.py"), sha256=hash_file(run.parent / "sent.py"))
    assert asked(run) == ("a", [
        "plugin polite.py of this run is not used: no training on this machine has used "
        f"{run.parent}/sent.py with its settings; name it with --plugin to use it as it is"
    ])  # fmt: skip
    assert not (run.parent / "ran").exists()


def test_modules_in_a_run_folder_are_not_imported_either(run, monkeypatch):
    monkeypatch.syspath_prepend(run.parent)
    for name in ("__init__.py", "mine.py"):
        (run / name).write_text("open('ran', 'w').close()\n" + POLITE)
    mine = run / "mine.py"
    changed(run, file=str(mine), module="run.mine", sha256=hash_file(mine))
    assert asked(run)[0] == "a"
    assert not (run.parent / "ran").exists()


def test_a_module_is_used_again_as_the_file_that_it_was(run, monkeypatch):
    monkeypatch.syspath_prepend(run.parent)
    package = run.parent / "kind_words"
    (package / "deep").mkdir(parents=True)
    (package / "deep" / "polite.py").write_text(POLITE)
    set_to = InferConfig(plugin=("kind_words.deep.polite",), settings=(("end", "??"),))
    (plugin,) = load_plugins(set_to).theirs()
    note_used([plugin])
    for module, reply in (("kind_words.deep.polite", "a??"), ("kind_words.polite", "a")):
        changed(run, **as_record(plugin) | {"module": module})
        assert asked(run)[0] == reply
    (package / "deep" / "polite.py").write_text("open('ran', 'w').close()\n" + POLITE)
    changed(run, **as_record(plugin))
    assert "has changed since" in asked(run)[1][0]
    assert not (run.parent / "ran").exists()


def test_a_run_s_settings_are_those_that_this_machine_has_trained_with(run):
    """A record that someone sends, of a plugin that is here too."""
    changed(run, settings={"end": "evil"})
    assert asked(run) == ("a", [
        "plugin polite.py of this run is not used: no training on this machine has used "
        f"{run.parent}/polite.py with its settings; name it with --plugin to use it as it is"
    ])  # fmt: skip
    assert asked(run, plugin=("polite.py",)) == ("a!", [
        "settings of plugin polite in this run are not used: no training on this machine has had "
        "them; give them with --set"
    ])  # fmt: skip


def test_a_training_from_a_run_json_has_the_plugins_of_that_run_or_is_refused(run):
    config = TrainConfig(record=(run / "run.json", load(run)[1].plugins))
    hooks = load_plugins(config)
    assert hooks.chain("map_reply", "reply", "a", messages=[], config=None)[0] == "a??"
    (run.parent / "rows.json").write_text('[{"prompt": "q", "completion": "a"}]')
    flags = ["--config", "run/run.json", "--dataset", "rows.json", "--dry-run"]
    (run.parent / "polite.py").write_text("open('ran', 'w').close()\n" + POLITE)
    changed(run, sha256=hash_file(run.parent / "polite.py"))
    assert refused(train, *flags) == [
        "plugin polite.py of run/run.json is not used: no training on this machine has used "
        f"{run.parent}/polite.py with its settings; name it with --plugin to use it as it is"
    ]
    assert not (run.parent / "ran").exists()


@pytest.mark.parametrize("plugins", [[5], [{"name": 5}], [{"settings": []}], [{"sha256": {}}]])
def test_a_record_of_plugins_that_is_damaged_is_one_line(plugins, run):
    record = json.loads((run / "run.json").read_text(encoding="utf-8")) | {"plugins": plugins}
    (run / "run.json").write_text(json.dumps(record))
    assert "run: the plugins of its record are damaged." in refused(
        train, "--config", "run/run.json", "--dataset", "none.json"
    )


def test_a_published_record_names_no_place_and_loads_nothing(run):
    folder, record = load(run)
    published = without_paths(record)
    assert published["plugins"][0] == {
        "name": "polite.py", "stem": "polite", "origin": "named", "distribution": None,
        "version": None, "sha256": hash_file(run.parent / "polite.py"),
    }  # fmt: skip
    assert str(run.parent) not in json.dumps([published["plugins"], published["options"]])
    write_json(folder / "run.json", published)
    assert asked(run) == ("a", [
        f"plugin {name} of this run is not used: this folder does not say where it is; name it "
        "with --plugin" for name in ("polite.py", "count.py")
    ])  # fmt: skip


def test_a_published_record_has_the_figures_of_the_data_and_no_place(run):
    folder, record = load(run)
    places = {"dataset": "/home/me/a.csv", "dataset_path": "/home/me/b", "val_dataset": "~/c.csv"}
    account = {"source": "/home/me/a.csv", "dropped": {"output is empty": 2}, "truncated": 1}
    account |= {"examples": {"output is empty": "/home/me/a.csv:3"}}
    account |= {"first_truncated": "/home/me/a.csv:4"}
    data = account | {"validation_source": account}
    changed_record = replace(record, options=record.options | places, data=data)
    published = without_paths(changed_record)
    figures = {"source": "a.csv", "dropped": {"output is empty": 2}, "truncated": 1}
    assert published["data"] == figures | {"validation_source": figures}
    assert [published["options"][name] for name in places] == [["a.csv"], "b", "c.csv"]


def test_an_installed_plugin_of_a_run_is_used_as_it_is_installed(run, install, monkeypatch):
    install("tail_s", POLITE.replace("end:", "close:").replace(".end", ".close"))
    plugin = load_plugins(InferConfig()).plugins[0]
    then = as_record(plugin) | {"settings": {"close": ";"}}
    changed(run, **then)
    assert asked(run) == ("a!", [
        "settings of plugin tail_s in this run are not used: no training on this machine has had "
        "them; give them with --set"
    ])  # fmt: skip
    with of_run.USED.open("a") as file:
        file.write(f"{of_run.code_of(then)}\t{plugin.file}\n")
    assert asked(run) == ("a;", [])
    changed(run, sha256="0", version="0.9")
    assert asked(run) == ("a!", [
        "plugin tail_s of this run has changed since: it was version 0.9, and 1.0 is installed "
        "and used"
    ])  # fmt: skip
    monkeypatch.setenv("THREETOE_LOAD_PLUGINS", "")
    assert asked(run)[1] == [
        "plugin tail_s of this run is not used: it is not installed, or THREETOE_LOAD_PLUGINS "
        "leaves it out"
    ]


def test_a_plugin_of_the_run_that_cannot_be_loaded_is_named(run):
    (run.parent / "polite.py").write_text("import nowhere\n" + POLITE)
    file = run.parent / "polite.py"
    changed(run, sha256=hash_file(file))
    entry = {"sha256": hash_file(file), "settings": {"end": "??"}}
    of_run.USED.write_text(f"{of_run.code_of(entry)}\t{file.resolve()}\n")
    assert refused(infer, "Hi", "--run", "run")[0] == (
        "Plugin polite.py (of this run) cannot be loaded: ModuleNotFoundError: No module named "
        f"'nowhere' ({run.parent}/polite.py:1)"
    )
    assert asked(run, run_plugins=False) == ("a", [])


def test_installed_plugins_can_be_turned_off_or_chosen(install, monkeypatch, here):
    install("tail_one", MARK.format("1"))
    install("tail_two", MARK.format("2"))

    def names(setting):
        monkeypatch.setenv("THREETOE_LOAD_PLUGINS", setting)
        return [plugin.stem for plugin in load_plugins(InferConfig()).theirs()]

    assert names("") == []
    assert names("tail-two") == ["tail_two"]
    assert names("tail_two, tail_one") == ["tail_one", "tail_two"]
    assert refused(infer, "Hi", "--run", "none")[0].startswith("--run none is not a run folder")
    monkeypatch.setenv("THREETOE_LOAD_PLUGINS", "tail_on")
    assert refused(infer, "Hi", "--run", "none")[0] == (
        "THREETOE_LOAD_PLUGINS: No installed plugin named 'tail-on'. Did you mean 'tail_one'? "
        "Available: tail_one, tail_two."
    )
