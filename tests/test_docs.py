"""The documentation is held to the code: hooks, options, templates, examples, messages, links."""

import inspect
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import click
import pytest
from conftest import run_in_one_process
from every import assert_every

from threetoe.__main__ import cli
from threetoe.commands.then import read_then
from threetoe.data.read import read_conversations
from threetoe.errors import PluginError, UserError
from threetoe.hooks import specs
from threetoe.hooks.load import load_plugins
from threetoe.options.command import command, read_words
from threetoe.options.export import ExportConfig
from threetoe.options.infer import InferConfig
from threetoe.options.shared import Common
from threetoe.options.train import TrainConfig
from threetoe.prompt.pieces import Marks, Piece
from threetoe.prompt.template_file import read_template
from threetoe.train.plan import plan_training

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
README, README_ZH = ROOT / "README.md", ROOT / "README.zh.md"
PLUGIN_FILES = sorted((ROOT / "plugins").glob("*.py"))
SCRIPTS = {"train.py": TrainConfig, "infer.py": InferConfig, "export.py": ExportConfig}
SHOWING = [  # where commands are shown
    *PAGES,
    *(file for name in ("benchmarks", "examples") for file in (ROOT / name).rglob("*.md")),
    *(file for name in ("configs", "examples") for file in (ROOT / name).glob("*.yaml")),
    *(file for name in ("", "examples", "plugins") for file in (ROOT / name).glob("*.py")),
    *(ROOT / "threetoe" / "commands").rglob("*.py"),
]
COMMAND = re.compile(r"(?:^|[ !])((?:train|infer|export)\.py|-m threetoe)(?: .*)?$")
HOOKS = [name for name in vars(specs) if name.startswith(specs.PREFIXES)]
PICTURE = re.compile(r"!\[.*\]\((.*)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOREIGN = {
    "--no-deps",  # pip's
    "--repo-type",  # of hf download
    "--local-dir",
    "--outtype",  # llama.cpp's
    "--outfile",
    "--chat-template-file",
    "--lora",
    *"--served-model-name --model-path --worker-urls --tensor-parallel-size --tp".split(),
    # of torchrun, accelerate and Slurm, up to their underscores
    *"--nproc --nnodes --rdzv --multi --num --mixed --cpu --nodes --ntasks-per-node".split(),
    "--lora-rank",  # a mistake that docs/troubleshooting.md explains
}
OURS = {  # in the place of what is the reader's, the Hub's or of a package in a training shown
    "model": "tiny", "dataset": ("sentiment",), "max_samples": 40, "dataset_path": None,
    "dataset_subset": None, "dataset_split": "train", "dataset_option": (), "map": (), "labels": (),
    "instruction": None, "template": None, "plugin": (), "settings": (), "push_to": None,
    "report_to": (),
}  # fmt: skip
HOME = "/home/me"  # stands in the docs for the folder of the reader's files


def read(path):
    return path.read_text(encoding="utf-8")


def page(name):
    return read(ROOT / "docs" / f"{name}.md")


def blocks(text, language):
    """The contents of the fenced blocks of a language."""
    return [code for kind, code in FENCE.findall(text) if kind == language]


def code_of(text):
    """All code of a page: its fenced blocks, and what stands in backticks."""
    inline = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", FENCE.sub("", text))]
    return "\n".join([*(code for _, code in FENCE.findall(text)), *inline])


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def tables(text):
    """Every table as its rows, each a list of cells."""
    found = re.findall(r"(?:^\|.*\n)+", FENCE.sub("", text), re.MULTILINE)
    return [[cells(line) for line in table.splitlines()] for table in found]


def first_cells(text):
    cells = [row[0].replace("`", "") for table in tables(text) for row in table]
    return {name for cell in cells for name in cell.split(", ")}


def headings(text):
    return re.findall(r"^(#+) (.+)$", FENCE.sub("", text), re.MULTILINE)


def anchors(text):
    """The anchors that GitHub gives a page's headings."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for _, title in headings(text)}


def flags():
    """Every flag of the three scripts and of python -m threetoe."""
    found = {"--help"}
    scripts = [command(config)(print) for config in (TrainConfig, InferConfig, ExportConfig)]
    templates, plugins = cli.commands["templates"], cli.commands["plugins"]
    making = cli.commands["make-dataset"].commands.values()
    others = [cli.commands[name] for name in ("doctor", "runs", "report")]
    words = (*others, plugins, *plugins.commands.values(), *templates.commands.values(), *making)
    for one in (*scripts, *words, templates.get_command(None, "alpaca")):
        for param in one.params:
            found |= {*param.opts, *param.secondary_opts}
    return found


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_section_with_its_signature(hook):
    signature = inspect.signature(getattr(specs, hook))
    assert f"\n### `{hook}{signature}`\n" in page("plugins")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_stands_in_the_table_with_its_signature_and_since_when_it_is_there(hook):
    function = getattr(specs, hook)
    since = re.search(r"Since (\d+\.\d+)\.", function.__doc__)[1]
    (row,) = [
        row for table in tables(page("plugins")) for row in table if row[0].startswith(f"`{hook}(")
    ]
    assert (row[0], row[3]) == (f"`{hook}{inspect.signature(function)}`", since)


@pytest.mark.parametrize("path", [README, README_ZH], ids=["en", "zh"])
def test_every_hook_script_and_template_stands_in_a_table_of_the_readme(path):
    templates = {file.stem for file in (ROOT / "templates").glob("*.yaml")}
    scripts = {file.name for file in ROOT.glob("*.py")}
    assert {*HOOKS, *templates, *scripts} - first_cells(read(path)) == set()


def test_every_hook_is_used_by_the_builtin_or_by_an_example():
    hooks = load_plugins(Common(plugin=tuple(map(str, PLUGIN_FILES))))
    assert [hook for hook in HOOKS if not users(hooks, hook)] == []


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda path: path.stem)
def test_an_example_plugin_fits_in_forty_lines_and_is_documented(path):
    assert len(read(path).splitlines()) <= 40
    (row,) = [row for table in tables(page("plugins")) for row in table if path.name in row[0]]
    hooks = load_plugins(Common(plugin=(str(path),)))
    used = {hook for hook in HOOKS if str(path) in users(hooks, hook)}
    assert set(re.findall(r"`(\w+)`", row[2])) == used


def users(hooks, hook):
    """The names of the plugins that have this hook."""
    return [impl.plugin_name for impl in getattr(hooks.hook, hook).get_hookimpls()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_option_that_is_mentioned_exists(path):
    mentioned = set(re.findall(r"(?<![\w-])--[a-z0-9][a-z0-9-]*", code_of(read(path))))
    assert mentioned - flags() - FOREIGN == set()


def test_every_command_that_is_shown_is_one_that_its_script_takes(here):
    """Its options exist, its values are of their types, and those of a training pass its checks
    together; it is not run."""
    saved(Path("mine.yaml"), "{}")
    shown = [(path, line) for path in SHOWING for line in commands(path)]
    assert_every((f"{path.name}: {line}", problems_of(line), []) for path, line in shown)


@pytest.mark.parametrize(
    "wrong",
    [
        "python train.py --lora-rank 8",
        "python train.py --max-steps many",
        "python train.py --resume",
        "python train.py --config configs/none.yaml",
        "python train.py --then 'export --mergd DIR'",
        "python train.py --dataset my.json --max-steps 9 --num-train-epochs 3",
        "python infer.py Two words",
        "python -m threetoe make-dataset topic bread -n many",
        "python -m threetoe plugins explain train.py --datset my.json",
        "python -m threetoe templtes rank --model tiny",
    ],
)
def test_a_command_that_is_shown_wrongly_is_found(wrong):
    assert problems_of(wrong)


def commands(path):
    """The lines of a file with a command: of a page's code, or such as begin with one."""
    text = re.sub(r"\\+\n\s*", " ", read(path))  # a line that goes on
    if path.suffix == ".md":
        lines = code_of(text).splitlines()
    else:
        lines = re.findall(r"(?m)^[# ]*((?:\w+=\S+ )?python .*)$", text)
    return [line for line in lines if COMMAND.search(line) and line[0] not in "├└"]


def problems_of(line):
    """What is wrong with a command that stands in a line of a document."""
    script, *words = shlex.split(COMMAND.search(line)[0].lstrip(" !"), comments=True)
    words = [word for word in words if word != "--help"]
    if script not in SCRIPTS:
        return problems_of_module(words[1:])
    for at, file in enumerate(words):
        if words[at - 1] == "--config":  # ours, or one of the reader's
            ours = file.startswith(("configs/", "examples/"))
            words[at] = str(ROOT / file) if ours else "mine.yaml"
    config = read_words(SCRIPTS[script], words)
    problems = list(config.problems)
    if not line.startswith("python") and len(words) == 1:  # the option is mentioned, not used
        problems = [one for one in problems if one != f"{words[0]} needs a value."]
    if script == "train.py":
        problems += read_then(config).problems if config.then else ()
        try:
            plan_training(replace(config, problems=(), **OURS))
        except UserError as error:
            problems += error.problems
    return problems


def problems_of_module(words):
    """The same of the words behind python -m threetoe."""
    group, context = cli, click.Context(cli)
    while isinstance(group, click.Group):
        _, words, _ = group.make_parser(context).parse_args(words)
        if not words:
            return []
        try:
            name, group, words = group.resolve_command(context, words)
            if not isinstance(group, click.Group):
                context = group.make_context(name, words, parent=context)
        except click.UsageError as error:
            return [error.format_message()]
    if name == "explain":
        return problems_of(shlex.join(context.params["command"]))
    return list(context.meta.get("problems", ()))


def test_the_readmes_template_works(tmp_path):
    (text,) = blocks(read(README), "yaml")
    assert len(text.splitlines()) <= 10
    path = tmp_path / "qa.yaml"
    path.write_text(text, encoding="utf-8")
    question = {"role": "user", "content": "Which colour?", "input": "The sky is blue."}
    answer = {"role": "assistant", "content": "Blue."}
    assert read_template(path).pieces([question, answer], Marks("<bos>", "<eos>", ())) == [
        Piece(
            "<bos>Answer in one sentence, from the text.\n\n"
            "Question: Which colour?\nText: The sky is blue.\nAnswer:\n",
            False,
        ),
        Piece("Blue.<eos>", True),
        Piece("\n\n", False),
    ]


def test_the_readmes_plugin_works(tmp_path):
    (code,) = blocks(read(README), "python")
    assert len(code.splitlines()) <= 10
    hooks = load_plugins(Common(plugin=(saved(tmp_path / "polite.py", code),)))
    kept, short = ([{"role": "assistant", "content": text}] for text in ("Hello!", "?"))
    assert hooks.chain("map_messages", "messages", kept, may_drop=True, config=None) == (kept, None)
    assert hooks.chain("map_messages", "messages", short, may_drop=True, config=None)[0] is None
    assert hooks.chain("map_reply", "reply", " Hi \n", messages=[], config=None)[0] == "Hi"


def saved(path, code):
    path.write_text(code, encoding="utf-8")
    return str(path)


def plugins_of(text):
    """The blocks of a page that are plugins: all but a test."""
    return [code for code in blocks(text, "python") if not code.startswith("# test_")]


@pytest.mark.parametrize("number", range(len(plugins_of(page("plugins")))))
def test_an_example_in_the_page_on_plugins_loads(number, tmp_path):
    code = plugins_of(page("plugins"))[number]
    path = saved(tmp_path / "example.py", code)
    assert load_plugins(Common(plugin=(path,))).has_plugin(path)


def test_the_template_of_the_page_on_templates_shows_what_the_page_says(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(blocks(page("templates"), "yaml")[0], encoding="utf-8")
    question = {"content": "Classify the sentiment of the text.", "input": "What a day!"}
    messages = [{"role": "user", **question}, {"role": "assistant", "content": "Positive"}]
    pieces = read_template(path).pieces(messages, Marks("<bos>", "<eos>", ()))
    shown = "".join(f"⟦{text}⟧" if learned else text for text, learned in pieces)
    assert shown.strip() == blocks(page("templates"), "text")[0].strip()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("{content}{eos}", "{content}"),
        ("{content}{eos}", "{eos}{content}"),
        ("{content}{eos}", "{content}</s>{eos}"),
        ("Question: {content}", "<|user|>{content}"),
        ("Question: {content}", "<|begin_of_text|>{content}"),
        ("Question: {content}", "{{content}}"),
        ("Answer:\\n", "Answer: "),
        ('user: "Question: {content}', 'user: "Question:'),
        ('user: "Question: {content}', 'user: "Question: {content} {contents}'),
        ("system:", "sytem:"),
        ('["\\nQuestion:"]', '"Question:"'),
        ('"Answer in one sentence."', "no"),
        ('"Question and answer"', "Mine: yours"),
    ],
)
def test_a_mistake_in_a_template_gets_the_message_of_the_docs(right, wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = blocks(page("templates"), "yaml")[0]
    saved(Path("mine.yaml"), text.replace(right, wrong, 1))
    with pytest.raises(UserError) as raised:
        read_template(Path("mine.yaml"))
    rows = [row for table in tables(page("templates")) for row in table]
    messages = {row[0].strip("`").replace("\\|", "|") for row in rows}
    assert set(raised.value.problems) & messages


def test_the_page_on_plugins_leads_from_an_empty_file_to_an_export(tmp_path):
    """Its code and its commands as they stand there, run in an empty folder."""
    text = page("plugins").split("## From an empty file to an export\n")[1].partition("\n## ")[0]
    (code,), commands = blocks(text, "python"), "".join(blocks(text, "sh")).splitlines()
    saved(tmp_path / "quiz.py", code)
    look, train, evaluate, ask, export = run_in_one_process(
        [shlex.split(c) for c in commands], tmp_path
    )
    shown, figures = blocks(text, "text")
    assert look["stdout"].strip() == shown.strip()
    assert "18 rows read from quiz, 18 to train on" in train["stderr"]
    said = [re.sub(r"\d[\d.]*", "N", text) for text in (evaluate["stderr"], figures)]
    assert said[0].startswith(said[1])
    assert ask["stdout"].strip()
    assert export["code"] == 0
    assert (tmp_path / "quiz-sheet" / "run.csv").read_text().startswith("figure,value\nsteps,60\n")
    assert set(json.loads((tmp_path / "answers.metrics.json").read_text())["metrics"]) == {
        "exact", "alike"
    }  # fmt: skip


def test_the_quickstart_leads_from_rows_to_an_answer_and_an_export(tmp_path):
    """Its commands as they stand there, but for the blocks that install or need the Hub."""
    text = page("quickstart")
    (rows,) = blocks(text, "csv")
    saved(tmp_path / "shop.csv", rows)
    local = [code for code in blocks(text, "sh") if not re.search(r"pip install|user/", code)]
    commands = [shlex.split(line) for line in "".join(local).splitlines()]
    look, train, ask, evaluate, export = run_in_one_process(commands, tmp_path)
    assert look["stdout"].count("── shop.csv:") == 2
    assert "saved in runs/shop-alpaca\n" in train["stderr"]
    assert ask["stdout"] == blocks(text, "text")[0]
    assert "8 of 8 exactly right" in evaluate["stderr"]
    assert "% of the adapter's effect kept" in export["stderr"]
    assert (tmp_path / "my-model" / "config.json").is_file()


def test_the_chinese_quickstart_has_the_code_and_the_shape_of_the_english_one():
    english, chinese = page("quickstart"), page("quickstart.zh")
    assert FENCE.findall(chinese) == FENCE.findall(english)
    assert [level for level, _ in headings(chinese)] == [level for level, _ in headings(english)]
    assert shapes(chinese) == shapes(english)


BAD_PLUGINS = {
    "misspelt": "def map_mesages(messages): ...",
    "argument": "def map_messages(message): ...",
    "import": "import no_such_library",
    "syntax": "def map_reply(reply)",
    "exception": 'def map_messages(messages):\n    return messages[0]["contents"]',
    "no return": 'def map_card(card):\n    card += "more"',
    "taken": 'def register_templates():\n    return {"alpaca": "mine.yaml"}',
}


@pytest.mark.parametrize("code", BAD_PLUGINS.values(), ids=BAD_PLUGINS)
def test_a_mistake_in_a_plugin_gets_the_message_of_the_docs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(Path("bad.py"), code + "\n")
    with pytest.raises((UserError, PluginError)) as raised:
        hooks = load_plugins(Common(plugin=("bad.py",)))
        hooks.merge("register_templates", config=None)
        hooks.chain("map_messages", "messages", [{"role": "user", "content": "Hi"}], config=None)
        hooks.chain("map_card", "card", "# Card", folder=tmp_path, config=None)
    message = str(raised.value).replace(str(tmp_path.resolve()), HOME)
    assert message in "".join(blocks(page("plugins"), "text")).splitlines()


DATA = {
    "columns": ("my.json", '[{"query": "a", "reply": "b"}]', ()),
    "faults": (
        "my.json",
        "["
        + '{"prompt": "a", "completion": "b"},\n' * 17
        + ",\n".join(['{"instruction": "a", "output": ""}'] * 3)
        + "]",
        (),
    ),
    "map": ("my.csv", "question,reply\na,b\n", (("instruction", "questoin"),)),
    "json": ("my.json", '[{"prompt": "a"},\n {"prompt": "a" "completion": "b"}]', ()),
    "not a list": ("my.json", '{"data": [{"prompt": "a", "completion": "b"}]}', ()),
    "cells": ("my.csv", "prompt,completion\na,b,c\n", ()),
    "encoding": ("my.jsonl", '{"prompt": "你好", "completion": "再见"}'.encode("gb18030"), ()),
}


@pytest.mark.parametrize(("name", "text", "pairs"), DATA.values(), ids=DATA)
def test_a_mistake_in_data_gets_the_message_of_the_docs(name, text, pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    config = TrainConfig(dataset=name, map=pairs)
    with pytest.raises(UserError) as raised:
        read_conversations(config, load_plugins(config))
    documented = [block.strip() for block in blocks(page("troubleshooting"), "text")]
    assert str(raised.value) in documented


def test_the_account_of_rows_reads_as_in_the_docs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        '{"instruction": "a", "output": "b"}',
        '{"query": "a", "reply": "b"}',
        '{"instruction": "c", "output": ""}',
        '{"instruction": "d", "output": 5}',
        '{"messages": [{"role": "assistant", "content": "x"}]}',
    ]
    saved(Path("mixed.jsonl"), "\n".join(rows))
    config = TrainConfig(dataset="mixed.jsonl", allow_dropped=1.0)
    _, ledger = read_conversations(config, load_plugins(config))
    assert "\n".join(ledger.lines()) == blocks(page("datasets"), "text")[0].strip()


def test_the_chinese_readme_has_the_shape_of_the_english_one():
    english, chinese = read(README), read(README_ZH)
    assert [level for level, _ in headings(chinese)] == [level for level, _ in headings(english)]
    assert FENCE.findall(wordless(chinese)) == FENCE.findall(wordless(english))
    assert shapes(chinese) == shapes(english)
    assert PICTURE.findall(chinese) == PICTURE.findall(english)


def wordless(text):
    """The text with a tree of files in it, whose files have no words behind them."""
    return re.sub(r"(?m)^(\S+ \S+\.py) +.*$", r"\1", text)


def shapes(text):
    return [[len(row) for row in table] for table in tables(text)]


def test_the_evenings_path_is_there_and_takes_an_evening():
    (tree,) = blocks(read(README), "text")
    files = re.findall(r"^\S+ (\S+\.py)", tree, re.MULTILINE)
    lines = sum(read(ROOT / "threetoe" / file).count("\n") for file in files)
    assert len(files) == 16 and lines <= 3000


@pytest.mark.parametrize("path", [README, README_ZH], ids=["en", "zh"])
def test_the_readme_leads_to_every_page(path):
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages - set(re.findall(r"\]\(([^)#]+)", read(path).split("\n## ")[-1])) == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_local_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!\w+://)([^)#]*)(?:#([^)]*))?\)", FENCE.sub("", read(path)))
    for name, anchor in links:
        target = path.parent / name if name else path
        assert target.exists(), name
        assert not anchor or anchor in anchors(read(target)), anchor
