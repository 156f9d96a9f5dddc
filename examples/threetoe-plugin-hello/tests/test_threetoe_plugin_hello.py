"""Three steps of training, one answer and an export with the plugin."""

pytest_plugins = ["threetoe.testing"]


def test_a_row_that_echoes_is_dropped(rehearsal):
    rows = [{"prompt": "Hi", "completion": text} for text in ("Hi", "Hello!", "Good day!")]
    done = rehearsal("threetoe_plugin_hello", rows=rows)
    assert done.record["data"]["skipped"] == {"dropped by plugin threetoe_plugin_hello": 1}
