"""Whatever the records of a run, its adapter and its base hold, it is answered in a line, before
anything is loaded or written."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from conftest import TINY

from threetoe.backend.adapter import check_adapter
from threetoe.backend.checkpoint import list_checkpoint, read_base_config
from threetoe.errors import UserError
from threetoe.machine.records import read_lines
from threetoe.prompt.template import hash_of
from threetoe.prompt.tokenizer_template import TokenizerTemplate
from threetoe.run import probes, record

WRONG = [[], {}, "text", -1, 1.5, None, True, [[1]], {"a": {"b": [None]}}, ["a", 5]]
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"


def read_all(folder: Path) -> None:
    """What infer.py and export.py read of a run before they load anything."""
    _, run = record.load(folder)
    run.the_config(), record.without_paths(run)
    check_adapter(folder)
    probes.read(folder)


def answered(read, *args) -> str | None:
    """What was said, if it was refused; never a traceback, nor a wait."""
    began = time.process_time()
    try:
        read(*args)
        said = None
    except UserError as error:
        said = str(error)
    assert time.process_time() - began < 2
    return said


@pytest.mark.parametrize("name", ["run.json", "adapter_config.json"])
def test_every_value_of_a_record_may_be_of_any_type(three_steps, tmp_path, name):
    folder = shutil.copytree(three_steps, tmp_path / "run")
    whole = (folder / name).read_text(encoding="utf-8")
    places = [(key,) for key in json.loads(whole)]
    places += [(top, key) for top in ("options", "template", "marks", "data") if (top,) in places
               for key in json.loads(whole)[top]]  # fmt: skip
    refused = 0
    for place in places:
        for wrong in WRONG:
            values = json.loads(whole)
            inner = values[place[0]] if place[1:] else values
            inner[place[-1]] = wrong
            if "template" in values:  # as whoever writes a record on purpose would
                values["template_hash"] = hash_of(values["template"])
            (folder / name).write_text(json.dumps(values), encoding="utf-8")
            refused += answered(read_all, folder) is not None
    assert refused > len(places)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 100_000, '{"a": 1, "a": 2}', "\ud800"])
@pytest.mark.parametrize("name", ["run.json", "adapter_config.json", "prompts.jsonl"])
def test_a_record_that_is_none_is_named(three_steps, tmp_path, name, text):
    folder = shutil.copytree(three_steps, tmp_path / "run")
    (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    said = answered(read_all, folder)
    assert said is None if (name, text) == ("prompts.jsonl", "") else name in said


def test_a_record_that_would_not_end_is_not_read(three_steps, tmp_path):
    folder = shutil.copytree(three_steps, tmp_path / "run")
    (folder / "run.json").unlink()
    os.mkfifo(folder / "run.json")
    assert "is no record" in answered(read_all, folder)
    (folder / "run.json").unlink()
    (folder / "run.json").symlink_to("/dev/zero")
    assert "is no record" in answered(read_all, folder)


@pytest.mark.parametrize("pattern", ["(", "([a-z.0-9_]+)+!", "(((a|.)*)*)*!"])
def test_a_pattern_of_an_adapter_comes_to_an_end(three_steps, tmp_path, pattern):
    folder = shutil.copytree(three_steps, tmp_path / "run")
    path = folder / "adapter_config.json"
    for changes in ({"rank_pattern": {pattern: 3}}, {"target_modules": pattern}):
        values = json.loads((three_steps / path.name).read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps(values), encoding="utf-8")
        assert path.name in answered(check_adapter, folder)


def test_every_header_of_weights_may_hold_anything(tmp_path):
    file = tmp_path / "model.safetensors"
    facts = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    headers = [[], 5, {"a": 5}, {"a": {}}]
    headers += [{"a": facts | {name: wrong}} for name in facts for wrong in WRONG]
    headers.remove({"a": facts | {"dtype": "text"}})  # whoever reads the tensor judges that
    headers.remove({"a": facts | {"shape": []}})  # one number
    headers += [{"a": facts | {"shape": [-1, -1]}}, {"a": facts | {"data_offsets": [4, 0]}}]
    for text in [json.dumps(header) for header in headers] + ["[" * 100_000, "\xff"]:
        head = text.encode("latin-1")
        file.write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))
        assert str(file) in answered(list_checkpoint, tmp_path), text[:80]
    file.unlink()
    for index in ([], {}, {"weight_map": ["a"]}, {"weight_map": {"a": 5}}):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "index.json is damaged" in answered(list_checkpoint, tmp_path)


def test_every_size_of_a_base_is_a_number(tmp_path):
    whole = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    for name in ("hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings"):
        for wrong in (*WRONG, 0):
            if wrong is not True:
                (tmp_path / "config.json").write_text(json.dumps(whole | {name: wrong}))
                assert name in answered(read_base_config, tmp_path)


@pytest.mark.parametrize("jinja", [ENDLESS, "{{ 'a' * 3999999999 }}", "{{ 1 / 0 }}", "{{ a.b.c }}"])
def test_a_chat_template_is_bounded_in_time_and_memory(jinja):
    template = TokenizerTemplate("chat template of a base", jinja, {})
    assert "chat template of a base" in answered(template.rendered, [], True)


def test_a_line_of_a_record_ends_at_a_line_break_alone(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "b\u2028c\x85d"}\n{"a": "e"}\n', encoding="utf-8")
    assert [row["a"] for row in read_lines(path)] == ["b\u2028c\x85d", "e"]
