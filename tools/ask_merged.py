"""Asks what make demo merged in plain transformers, and compares with what the demo printed.

python tools/ask_merged.py LOG, where LOG is what make demo printed. Needs no package of ours, no
Unsloth and no PEFT: whoever gets the merged folder has none of them.
"""

import json
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

RUN, MERGED = Path("runs/demo"), Path("runs/demo-merged")
STRANGERS = {"threetoe", "unsloth", "peft"}


def printed_answers(log):
    """(messages, answer) of each question of the log; the answer stands below its command."""
    for command, answer in pairwise(log.splitlines()):
        asked = re.search(r'infer\.py --run \S+ (".+" --input ".+")', command)
        if asked:
            question, _, text = shlex.split(asked[1])
            yield [{"role": "user", "content": question, "input": text}], answer


def table_answers(path):
    """(messages, answer) of each row that the table of the demo is made of."""
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        yield (
            [{"role": "user", "content": row["instruction"], "input": row["input"]}],
            row["answer"],
        )


def main(log):
    printed = list(printed_answers(Path(log).read_text(encoding="utf-8")))
    rows = list(table_answers(RUN / "after.jsonl"))
    assert len(printed) == 2 and rows, f"{log} is not what make demo prints"
    tokenizer = AutoTokenizer.from_pretrained(MERGED)
    model = AutoModelForCausalLM.from_pretrained(MERGED, dtype="auto")
    differ = []
    for messages, answer in printed + rows:
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**prompt, max_new_tokens=256, do_sample=False)
        said = output[0, prompt["input_ids"].shape[1] :].tolist()
        if said != tokenizer.encode(answer + tokenizer.eos_token, add_special_tokens=False):
            differ.append(f"{messages}: {tokenizer.decode(said)!r}, the demo {answer!r}")
    assert not STRANGERS & sys.modules.keys(), "this is not plain transformers"
    asked = len(printed + rows)
    print(f"{MERGED}, plain transformers: {asked - len(differ)} of {asked} answers as in the demo")
    sys.exit("\n".join(differ) or 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
