"""Small files with the columns and types of the sources that the recipes name, made for tests.

Each folder is shaped as the source's repository on the Hub is: parquet or CSV files, and a
README.md whose `configs` name subsets and splits. The rows are made up.
"""

import csv
import json

import yaml
from datasets import ClassLabel, Dataset, Features, Translation, Value
from datasets import List as ListOf

TEXT, WHOLE, TRUTH, REAL = Value("string"), Value("int32"), Value("bool"), Value("float64")
ALPACA = dict.fromkeys(("instruction", "input", "output", "text"), TEXT)
NO_YES = ClassLabel(names=["False", "True"])
THREE = ClassLabel(names=["entailment", "neutral", "contradiction"])
SPANS = {"span1_index": WHOLE, "span2_index": WHOLE, "span1_text": TEXT, "span2_text": TEXT}
OASST1 = {
    "message_id": TEXT, "parent_id": TEXT, "user_id": TEXT, "created_date": TEXT, "text": TEXT,
    "role": TEXT, "lang": TEXT, "review_count": WHOLE, "review_result": TRUTH, "deleted": TRUTH,
    "rank": WHOLE, "synthetic": TRUTH, "model_name": TEXT,
    "detoxify": {"toxicity": REAL, "insult": REAL}, "message_tree_id": TEXT, "tree_state": TEXT,
    "emojis": {"name": ListOf(TEXT), "count": ListOf(WHOLE)},
    "labels": {"name": ListOf(TEXT), "value": ListOf(REAL), "count": ListOf(WHOLE)},
}  # fmt: skip


def message(name, parent, text, rank=None, lang="en", **more):
    """A row of OASST1; the role follows from the depth, which a name's length is."""
    role = "prompter" if len(name) % 2 else "assistant"
    row = {
        "message_id": name, "parent_id": parent, "user_id": "u", "created_date": "2023-01-01",
        "text": text, "role": role, "lang": lang, "review_count": 3, "review_result": True,
        "deleted": False, "rank": rank, "synthetic": False, "model_name": None, "detoxify": None,
        "message_tree_id": name[0], "tree_state": "ready_for_export",
        "emojis": None, "labels": None,
    }  # fmt: skip
    return row | more


def chatml(*texts):
    roles = ("user", "assistant") * len(texts)
    turns = zip(roles, texts, strict=False)
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


def alpaca(text, given, answer):
    return {"instruction": text, "input": given, "output": answer, "text": f"Below ... {answer}"}


SOURCES = {  # name of the recipe: {subset: (features, {split: rows})}
    "alpaca": {"default": (ALPACA, {"train": [
        alpaca("Add.", "1 + 1", "2"), alpaca("Greet {me}.", "", "Hi {output}"),
    ]})},
    "alpaca-gpt4": {"default": (ALPACA, {"train": [alpaca("Name a tree.", "", "Oak")]})},
    "grammar": {"default": ({"sentence": TEXT, "corrections": ListOf(TEXT)}, {
        "validation": [
            {"sentence": "He go . ", "corrections": ["He goes .", "He went .", "", "He is going ."]}
        ],
        "test": [{"sentence": "I has . ", "corrections": ["I have ."]}],
    })},
    "oasst1": {"default": (OASST1, {
        "train": [
            message("aaa", "aa", "And then?"),
            message("b", None, "Hallo?", lang="de"),
            message("aa", "a", "Second best", rank=1),
            message("a", None, "First?"),
            message("AA", "a", "Best", rank=0),
            message("bb", "b", "Ja!", lang="de"),
            message("AAA", "AA", "Why?"),
            message("AAAA", "AAA", "So."),
            message("AAAAA", "AAAA", "Thanks"),
        ],
        "validation": [message("v", None, "Now?"), message("vv", "v", "Yes.")],
    })},
    "oasst-top1": {"default": ({"text": TEXT}, {
        "train": [{"text": chatml("Hi", "Hello!", "Bye", "See you.\nSoon.")}],
        "test": [{"text": chatml("Q", "A")}],
    })},
    "openorca": {"default": (
        dict.fromkeys(("id", "system_prompt", "question", "response"), TEXT),
        {"train": [
            {"id": "1", "system_prompt": "Be brief.", "question": "Q?", "response": "A."},
            {"id": "2", "system_prompt": "", "question": "R?", "response": "B."},
        ]},
    )},
    "lex-podcast": {"default": (
        {"title": TEXT, "episode": Value("int64"), "speaker_ratio_lex-vs-guest": REAL,
         "conversation": ListOf({"from": TEXT, "text": TEXT})},
        {"train": [{"title": "T", "episode": 1, "speaker_ratio_lex-vs-guest": 0.5, "conversation": [
            {"from": who, "text": text} for who, text in [
                ("Lex", "Welcome."), ("Guest", "One"), ("Guest", "two"), ("Lex", "Three?"),
                ("Lex", " "), ("Guest", "Four"), ("Lex", "Five?"), ("Guest", "Six"),
            ]
        ]}]},
    )},
    "sst2": {"default": (
        {"idx": WHOLE, "sentence": TEXT, "label": ClassLabel(names=["negative", "positive"])},
        {"train": [{"idx": 0, "sentence": "a dull film ", "label": 0}],
         "validation": [{"idx": 0, "sentence": "a fine film ", "label": 1}],
         "test": [{"idx": 0, "sentence": "a film ", "label": -1}]},
    )},
    "xnli": {
        lang: ({"premise": TEXT, "hypothesis": TEXT, "label": THREE}, {"train": [
            {"premise": f"{lang} {n}", "hypothesis": "h", "label": n} for n in range(3)
        ]}) for lang in ("en", "zh")
    },
    "iwslt14": {"default": ({"id": TEXT, "translation": Translation(["de", "en"])}, {
        "train": [{"id": "0", "translation": {"de": "Danke.", "en": "Thanks."}}],
        "validation": [{"id": "0", "translation": {"de": "Ja.", "en": "Yes."}}],
    })},
    "super-glue": {
        "boolq": ({"question": TEXT, "passage": TEXT, "idx": WHOLE, "label": NO_YES},
                  {"question": "is it", "passage": "It is.", "idx": 0, "label": 1}),
        "cb": ({"premise": TEXT, "hypothesis": TEXT, "idx": WHOLE,
                "label": ClassLabel(names=["entailment", "contradiction", "neutral"])},
               {"premise": "P", "hypothesis": "H", "idx": 0, "label": 2}),
        "copa": ({"premise": TEXT, "choice1": TEXT, "choice2": TEXT, "question": TEXT, "idx": WHOLE,
                  "label": ClassLabel(names=["choice1", "choice2"])},
                 {"premise": "P", "choice1": "C", "choice2": "D", "question": "cause", "idx": 0,
                  "label": 0}),
        "multirc": ({"paragraph": TEXT, "question": TEXT, "answer": TEXT,
                     "idx": {"paragraph": WHOLE, "question": WHOLE, "answer": WHOLE},
                     "label": NO_YES},
                    {"paragraph": "P", "question": "Q?", "answer": "A",
                     "idx": {"paragraph": 0, "question": 0, "answer": 0}, "label": 0}),
        "record": ({"passage": TEXT, "query": TEXT, "entities": ListOf(TEXT),
                    "entity_spans": {"text": ListOf(TEXT), "start": ListOf(WHOLE),
                                     "end": ListOf(WHOLE)},
                    "answers": ListOf(TEXT), "idx": {"passage": WHOLE, "query": WHOLE}},
                   {"passage": "P", "query": "@placeholder ran", "entities": ["Bo", "Al"],
                    "entity_spans": {"text": ["Bo"], "start": [0], "end": [2]},
                    "answers": ["Al", "Alan"], "idx": {"passage": 0, "query": 0}}),
        "rte": ({"premise": TEXT, "hypothesis": TEXT, "idx": WHOLE,
                 "label": ClassLabel(names=["entailment", "not_entailment"])},
                {"premise": "P", "hypothesis": "H", "idx": 0, "label": 1}),
        "wic": ({"word": TEXT, "sentence1": TEXT, "sentence2": TEXT, "start1": WHOLE,
                 "start2": WHOLE, "end1": WHOLE, "end2": WHOLE, "idx": WHOLE, "label": NO_YES},
                {"word": "w", "sentence1": "S", "sentence2": "T", "start1": 0, "start2": 0,
                 "end1": 1, "end2": 1, "idx": 0, "label": 1}),
        "wsc": ({"text": TEXT, **SPANS, "idx": WHOLE, "label": NO_YES},
                {"text": "T", "span1_index": 0, "span2_index": 1, "span1_text": "a",
                 "span2_text": "b", "idx": 0, "label": 0}),
    },
}  # fmt: skip
SOURCES["super-glue"] = {
    task: (features, {"train": [row], "validation": [row], "test": [row | {"label": -1}]})
    if "label" in row else (features, {"train": [row], "validation": [row]})
    for task, (features, row) in SOURCES["super-glue"].items()
}  # fmt: skip
SOURCES["super-glue"]["wsc.fixed"] = SOURCES["super-glue"]["wsc"]
SAMSUM = {
    "train": [("13818513", "Amy: Hi\r\nBo: Hi, you", "Amy and Bo greet.")],
    "validation": [("1", "A: x", "y")],
    "test": [("2", "B: x", "z")],
}


def write_source(folder, name):
    """The folder of a source on the Hub, written as it is there."""
    folder.mkdir(parents=True)
    if name == "samsum":  # CSV files, and nothing about subsets
        for split, rows in SAMSUM.items():
            write_csv(folder / f"{split}.csv", ["id", "dialogue", "summary"], rows)
        return folder
    configs = []
    for subset, (features, splits) in SOURCES[name].items():
        for split, rows in splits.items():
            path = folder / subset / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(exist_ok=True)
            Dataset.from_list(rows, features=Features(features)).to_parquet(path)
        files = [{"split": split, "path": f"{subset}/{split}-*"} for split in splits]
        configs.append({"config_name": subset, "data_files": files})
    head = yaml.safe_dump({"configs": configs}, sort_keys=False)
    (folder / "README.md").write_text(f"---\n{head}---\n", encoding="utf-8")
    return folder


def write_csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_jsonl(path, rows):
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
