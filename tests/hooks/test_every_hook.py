"""Every hook has a test that shows what it is for; a new one fails here until it has."""

import ast
import re
from pathlib import Path

import pytest

from threetoe.hooks import specs

TESTS = Path(__file__).parents[1]
PLUGINS = Path(__file__).parents[2] / "plugins"
HOOKS = [name for name in vars(specs) if name.startswith(specs.PREFIXES)]
SHOWN_BY = {
    "register_templates": "test_plugins.py::test_what_plugins_register_merges",
    "register_datasets": "test_plugins.py::test_two_plugins_that_register_one_name_are_both_named",
    "register_formats": "test_plugins.py::"
    "test_a_hook_that_answers_nonsense_is_a_failure_that_names_it",
    "register_callbacks": "test_examples.py::test_a_profile_counts_passes_and_steps",
    "register_exporters": "test_examples.py::"
    "test_an_ollama_folder_has_weights_a_modelfile_and_its_commands",
    "register_metrics": "test_examples.py::test_valid_json_is_the_share_that_a_program_can_read",
    "load_rows": "test_plugins.py::"
    "test_rows_that_a_plugin_loads_are_previewed_without_any_built_in_source",
    "load_model": "test_examples.py::test_a_plugin_loads_the_model",
    "build_trainer": "test_examples.py::test_rows_come_by_length_in_every_epoch",
    "map_messages": "test_data.py::test_a_plugin_that_drops_a_row_is_named",
    "map_model": "test_examples.py::test_only_the_last_layers_learn",
    "map_training_args": "test_examples.py::test_an_argument_reaches_the_trainer",
    "map_request": "test_examples.py::test_words_are_replaced_in_rows_and_in_questions",
    "map_reply": "test_examples.py::test_an_answer_with_a_blocked_word_is_withheld",
    "map_card": "test_examples.py::test_the_card_says_that_addresses_were_replaced",
    "after_train": "test_examples.py::test_a_webhook_that_fails_loses_no_run",
    "after_export": "test_examples.py::test_history_has_a_line_for_every_training_and_every_export",
}


def source_of(test):
    """A test function's own text, decorators included."""
    name, _, function = test.partition("::")
    (path,) = TESTS.rglob(name)
    text = path.read_text(encoding="utf-8")
    (node,) = [n for n in ast.parse(text).body if getattr(n, "name", None) == function]
    first = min(n.lineno for n in [*node.decorator_list, node])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_test_that_names_it_or_an_example_with_it(hook):
    using = [p.stem for p in PLUGINS.glob("*.py") if f"\ndef {hook}(" in p.read_text("utf-8")]
    words = set(re.findall(r"\w+", source_of(SHOWN_BY[hook])))
    assert words & {hook, *using}


def test_no_test_is_named_for_a_hook_that_is_gone():
    assert list(SHOWN_BY) == [hook for hook in SHOWN_BY if hook in HOOKS]
