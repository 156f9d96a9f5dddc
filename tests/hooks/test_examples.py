"""The example plugins: the command in each one's docstring is run, and what it did is looked at."""

import json
import re
import shlex
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import ROOT, run_in_one_process
from safetensors import safe_open
from safetensors.torch import load_file

from threetoe.errors import UserError
from threetoe.hooks import specs
from threetoe.hooks.load import load_plugins
from threetoe.options.train import TrainConfig

PLUGINS = sorted((ROOT / "plugins").glob("*.py"))
COMMAND = re.compile(r"^((?:[A-Z_]+=\S+ )*python .+)$", re.MULTILINE)
SHORT = {
    "train.py": "--max-steps 1 --gradient-accumulation-steps 1 --warmup-steps 0 --model tiny",
    "infer.py": "--max-new-tokens 4",
    "export.py": "",
}
ROWS = [
    {
        "prompt": f"Write to ada@example.org{' about the colour' * n * 4}.",
        "completion": f"{n}@x.org",
    }
    for n in (4, 1, 6, 2)
]
TRIAL = "python train.py --dataset my.json"
FOUR = ["scrub_emails", "last_layers", "adam", "history"]
HOOKS = [name for name in vars(specs) if name.startswith(specs.PREFIXES)]


def flags(*names):
    return "".join(f" --plugin plugins/{name}.py" for name in names)


EXTRA = {
    "plain": f"{TRIAL} --output-dir runs/plain",
    "four": f"{TRIAL} --output-dir runs/four {flags(*FOUR)}",
    "four shown": f"{TRIAL} --preview 2 {flags(*FOUR)}",
    "card": f"python export.py --run runs/four --adapter runs/adapter {flags(*FOUR)}",
    "short first": f"{TRIAL} {flags('short_first')} --plugin widths.py "
    "--per-device-train-batch-size 1 --max-steps 10",
    "long first": f"{TRIAL} {flags('short_first')} --plugin widths.py --set longest_first=true "
    "--per-device-train-batch-size 1 --max-steps 5",
    "nothing said": f"python infer.py Hi --run runs/plain --plugin said.py {flags('reply_filter')} "
    "--set blocked=secret",
    "large epsilon": f"{TRIAL} {flags('adam')} --set epsilon=10",
    "webhook fails": f"THREETOE_WEBHOOK=http://127.0.0.1:9/key {TRIAL} {flags('webhook')} "
    "--output-dir runs/unheard",
    "words": f"{TRIAL} --preview 1 {flags('dictionary')}",
    "model": "python infer.py Hi --run runs/plain --plugin model.py",
    "late": "python export.py --run runs/plain --adapter runs/late --plugin late.py",
    "every hook trains": f"{TRIAL} --output-dir runs/every --plugin every.py",
    "every hook asks": "python infer.py --run runs/every --file my.json --plugin every.py",
    "every hook exports": "python export.py --run runs/every --adapter every --plugin every.py",
}
WIDTHS = """
def map_model(model):
    def note(model, args, kwargs):
        with open("widths.txt", "a") as file:
            file.write(f"{kwargs['input_ids'].shape[1]} ")
    model.register_forward_pre_hook(note, with_kwargs=True)
    return model
"""


def documented():
    """(a plugin's name, the command that its docstring gives)."""
    for path in PLUGINS:
        text = path.read_text(encoding="utf-8").split('"""')[1]
        (command,) = COMMAND.findall(text)
        yield path.stem, command


def every_hook():
    """A plugin with all the hooks that there are, which notes each call and changes nothing."""
    yield "def _note(hook):\n    print(hook, file=open('called.txt', 'a'))\n"
    for hook in HOOKS:
        takes = "reply" if hook == "map_reply" else hook.removeprefix("map_")
        named = {"training_args": "arguments", "request": "messages"}
        takes = named.get(takes, takes) if hook.startswith("map_") else ""
        yield f"def {hook}({takes}):\n    _note('{hook}')\n    return {takes or None}\n"


class Inbox(BaseHTTPRequestHandler):
    """A chat's webhook, which keeps what it is sent."""

    def do_POST(self):
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def inbox():
    server = HTTPServer(("127.0.0.1", 0), Inbox)
    server.got = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


MODEL = """
from threetoe import api

def load_model(config, adapter):
    print("loaded from", adapter)
    return api.load_model(config, adapter)
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, inbox):
    """The folder where everything was run, and what each call came to, by its name."""
    here = tmp_path_factory.mktemp("examples")
    (here / "plugins").symlink_to(ROOT / "plugins")
    (here / "my.json").write_text(json.dumps([*ROWS, ROWS[0]]))
    (here / "words.csv").write_text("colour,color\n")
    (here / "widths.py").write_text(WIDTHS)
    (here / "model.py").write_text(MODEL)
    (here / "said.py").write_text("def map_reply(reply):\n    return 'The Secret is out.'\n")
    (here / "late.py").write_text("def after_export():\n    raise OSError('full')\n")
    (here / "every.py").write_text("\n".join(every_hook()))
    calls = {"plain": EXTRA["plain"], **dict(documented()), **EXTRA}
    address = f"http://127.0.0.1:{inbox.server_port}/key"
    words = [shlex.split(c.replace("https://...", address)) for c in calls.values()]
    for one in words:
        script = one[one.index("python") + 1]
        short = shlex.split(SHORT[script])
        one[:] = [*one, *(short if "--max-steps" not in one else short[2:])]
    results = run_in_one_process(words, here, NO_PROXY="127.0.0.1")
    return here, dict(zip(calls, results, strict=True))


def saved(result):
    """The folder that a training's last lines name."""
    return re.search(r"saved in (\S+)", result["stderr"])[1]


def first_loss(folder):
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]


def learned_layers(folder):
    """The layers whose adapter has changed."""
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        return {
            int(name.split(".layers.")[1].split(".")[0])
            for name in file.keys()  # noqa: SIM118
            if name.endswith("lora_B.weight") and file.get_tensor(name).any()
        }


def hooks_of(name, *settings):
    config = TrainConfig(plugin=(str(ROOT / "plugins" / f"{name}.py"),), settings=settings)
    return load_plugins(config)


def after(name, text, *settings):
    """A reply as a plugin leaves it."""
    return hooks_of(name, *settings).chain("map_reply", "reply", text, messages=[], config=None)[0]


def kept(hooks, *texts):
    """Those of the answers that map_messages keeps, as it leaves them."""
    hooks.merge("register_datasets", config=None)
    rows = [[{"role": "assistant", "content": text}] for text in texts]
    rows = [hooks.chain("map_messages", "messages", row, may_drop=True)[0] for row in rows]
    return [row[0]["content"] for row in rows if row]


@pytest.mark.parametrize("name", [*dict(documented()), *EXTRA])
def test_a_command_works(name, ran):
    assert ran[1][name]["code"] == (name == "late"), ran[1][name]["stderr"]


def test_what_an_after_hook_raises_is_told_when_all_is_saved(ran):
    here, results = ran
    *_, last = results["late"]["stderr"].splitlines()
    assert last == f"Error: Plugin late.py raised in after_export ({here}/late.py:2): OSError: full"
    assert (here / "runs" / "late" / "adapter_model.safetensors").exists()


def test_every_example_names_itself_in_its_command():
    assert [name for name, command in documented() if f"plugins/{name}.py" not in command] == []


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_called(hook, ran):
    assert hook in (ran[0] / "called.txt").read_text().splitlines()


def test_hooks_are_called_in_the_order_of_a_run(ran):
    called = (ran[0] / "called.txt").read_text().splitlines()
    wanted = """
        load_rows map_messages load_model map_model map_training_args register_callbacks
        build_trainer after_train map_request register_metrics map_reply
        register_exporters map_card after_export
    """.split()
    first = [called.index(hook) for hook in wanted if hook != "register_metrics"]
    assert first == sorted(first)
    assert called.count("map_messages") == called.count("map_request") == 5


def test_addresses_are_not_in_what_the_model_sees(ran):
    shown = ran[1]["four shown"]["stdout"]
    assert "Write to [email]" in shown
    assert "⟦[email]<|end_of_text|>⟧" in shown
    assert "@" not in shown


def test_the_card_says_that_addresses_were_replaced(ran):
    """scrub_emails adds a line to it."""
    card = (ran[0] / "runs" / "adapter" / "README.md").read_text()
    assert card.endswith("E-mail addresses were replaced by [email] before training.\n")


def test_only_the_last_layers_learn(ran):
    here, results = ran
    assert learned_layers(here / "runs" / "plain") == {0, 1, 2, 3}
    assert learned_layers(here / "runs" / "four") == {2, 3}
    assert learned_layers(here / saved(results["last_layers"])) == {3}  # share=0.25


def test_history_has_a_line_for_every_training_and_every_export(ran):
    lines = map(json.loads, (ran[0] / "runs" / "history.jsonl").read_text().splitlines())
    entries = {entry.get("trained") or entry["exported"]: entry for entry in lines}
    assert entries["four"]["steps"] == 1
    assert entries["adapter"]["format"] == "adapter"


def test_an_argument_reaches_the_trainer(ran):
    """What Adam (plugins/adam.py) makes of a first gradient follows from epsilon alone."""
    here, results = ran
    plain, changed = (
        load_file(here / folder / "adapter_model.safetensors")
        for folder in ("runs/plain", saved(results["large epsilon"]))
    )
    assert max(map(largest, changed.values())) > 0
    assert all(largest(changed[name]) < largest(plain[name]) / 2 for name in plain if "_B" in name)


def test_the_second_matrix_of_each_adapter_moves_faster(ran):
    here, results = ran
    plain, faster = (
        load_file(here / folder / "adapter_model.safetensors")
        for folder in ("runs/plain", saved(results["lora_plus"]))
    )
    for name in (name for name in plain if "_B" in name):
        ratio = largest(faster[name]) / largest(plain[name])
        assert 10 < ratio < 20, name


def largest(tensor):
    return float(tensor.abs().max())


@pytest.mark.parametrize("way", ["short first", "long first"])
def test_rows_come_by_length(way, ran):
    widths = list(map(int, (ran[0] / "widths.txt").read_text().split()))
    one = {"short first": widths[:5], "long first": widths[10:]}[way]
    assert one == sorted(one, reverse=way == "long first")
    assert len(set(one)) > 2


def test_a_plugin_loads_the_model(ran):
    """load_model is given the run's folder; the run is asked as if it were the built-in's."""
    first, answer, _ = ran[1]["model"]["stdout"].split("\n")
    assert first == "loaded from runs/plain"
    assert answer


def test_rows_come_by_length_in_every_epoch(ran):
    """short_first sorts what the trainer is built with."""
    widths = (ran[0] / "widths.txt").read_text().split()
    assert widths[:5] == widths[5:10] and len(widths) == 15


def test_a_profile_counts_passes_and_steps(ran):
    said = ran[1]["profiler"]["stdout"]
    assert re.search(r"^forward +\d+ x \d+\.\d{4} s, \d+\.\d{4} s at most$", said, re.MULTILINE)
    assert re.search(r"^step +1 x ", said, re.MULTILINE)
    assert re.search(r"^[\d,]+ tokens a second, \d+\.\d\d GiB at most$", said, re.MULTILINE)


def test_the_webhook_is_sent_the_loss_and_answers_and_the_run_does_not_know_its_address(ran, inbox):
    here, results = ran
    folder = here / saved(results["webhook"])
    (sent,) = inbox.got
    loss = json.loads((folder / "run.json").read_text())["metrics"]["train_loss"]
    assert sent["text"].startswith(f"{folder.name}: loss {loss} after 1 steps\n\n")
    assert sent["text"].count("\n> ") == 3
    assert "Write to ada@example.org" in sent["text"]
    assert "webhook: answered 204" in results["webhook"]["stdout"]
    assert str(inbox.server_port) not in (folder / "run.json").read_text()


def test_a_webhook_that_fails_loses_no_run(ran):
    here, results = ran
    assert results["webhook fails"]["stdout"].endswith(
        "webhook: not posted (ConnectError); the run is saved\n"
    )
    assert (here / "runs" / "unheard" / "run.json").exists()


def test_nearly_equal_rows_are_dropped_and_counted(ran):
    assert (
        "skipped: dropped by plugin plugins/near_duplicates.py"
        in (ran[1]["near_duplicates"]["stderr"])
    )
    long = "The weather in the mountains changes quickly, so take warm clothes and water along"
    hooks = hooks_of("near_duplicates")
    assert kept(hooks, long + ".", long.upper() + "!", "Read the map.") == [
        long + ".", "Read the map."
    ]  # fmt: skip
    assert kept(hooks, long, "早上好", "早上好") == [long, "早上好"]  # read again: nothing was seen


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("ada@x.org, 邮箱ada@x.org", "[email], 邮箱[email]"),
        ("电话13812345678。", "电话[phone]。"),
        ("+49 30 1234567 or (555) 123-4567", "[phone] or [phone]"),
        ("DE89 3704 0044 0532 0130 00, GB82WEST12345698765432.", "[iban], [iban]."),
        ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),  # a wrong check digit
        ("4111 1111 1111 1111, 4111111111111112", "[card], 4111111111111112"),
        ("10.0.0.1, ::1, fe80::1", "[ip], [ip], [ip]"),
        ("12:30:45, std::vector, 1.2.3", "12:30:45, std::vector, 1.2.3"),
        ("2024-01-01, 01-02-2024 03:04, 3.14159265358979", None),
    ],
)
def test_personal_data_is_scrubbed_and_other_numbers_stay(text, left):
    assert after("scrub_personal", text) == (text if left is None else left)


def test_personal_data_is_scrubbed_from_the_rows_that_are_shown(ran):
    shown = ran[1]["scrub_personal"]["stdout"]
    assert "Write to [email]" in shown and "@" not in shown


def test_words_are_replaced_in_rows_and_in_questions(ran):
    assert "about the color about the color" in ran[1]["words"]["stdout"]
    hooks = hooks_of("dictionary", ("words", str(ran[0] / "words.csv")))
    asked = [{"role": "user", "content": "Colour, colours?"}]
    answer = hooks.chain("map_request", "messages", asked)[0]
    assert answer == [{"role": "user", "content": "color, colours?"}]


def test_the_longest_word_of_a_dictionary_wins_and_chinese_needs_no_space(tmp_path):
    (tmp_path / "w.csv").write_text("天,day\n天气,weather\n", encoding="utf-8")
    assert kept(hooks_of("dictionary", ("words", str(tmp_path / "w.csv"))), "今天天气") == [
        "今dayweather"
    ]


@pytest.mark.parametrize("text", ["one\n", "a,b,c\n", ""])
def test_a_dictionary_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "w.csv").write_text(text)
    hooks = hooks_of("dictionary", ("words", str(tmp_path / "w.csv")))
    with pytest.raises(UserError, match="a line of a dictionary is a word, a comma"):
        kept(hooks, "x")


def test_an_ollama_folder_has_weights_a_modelfile_and_its_commands(ran):
    """What the command of ollama_folder writes."""
    folder = ran[0] / "my-ollama"
    modelfile = (folder / "Modelfile").read_text()
    assert "\nFROM ./weights\n" in modelfile
    assert modelfile.endswith("PARAMETER num_ctx 4096\nPARAMETER temperature 0.0\n")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (folder / "weights").iterdir()
    }
    assert "ollama create my-model -f Modelfile" in (folder / "README.md").read_text()


def test_an_answer_with_a_blocked_word_is_withheld(ran):
    assert ran[1]["nothing said"]["stdout"] == "[withheld]\n"
    blocked = ("blocked", "secret, 密码")
    assert after("reply_filter", "Secretly.", blocked) == "Secretly."
    assert after("reply_filter", "我的密码", blocked, ("instead", "-")) == "-"


def test_valid_json_is_the_share_that_a_program_can_read(ran):
    assert re.search(r"^valid_json  0$", ran[1]["valid_json"]["stderr"], re.MULTILINE)
    metric = hooks_of("valid_json").merge("register_metrics", config=None)["valid_json"]
    wanted = ['{"a": 1}'] * 4 + ["[]", "no JSON"]
    assert metric(['{"a": 2}', '{"b": 1}', "{'a': 1}", "", "[1]", "no JSON"], wanted) == 2 / 6


@pytest.mark.parametrize(
    ("name", "setting", "problem"),
    [
        ("near_duplicates", ("similarity", "2"), "similarity=2.0: not between 0 and 1."),
        ("last_layers", ("share", "0"), "share=0.0: more than 0, and 1 at most."),
    ],
)
def test_a_setting_out_of_range_is_refused(name, setting, problem):
    with pytest.raises(UserError, match=f"{name}.{problem}"):
        hooks_of(name, setting)
