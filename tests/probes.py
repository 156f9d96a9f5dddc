"""Conversations that every way to a prompt has to turn into the same ids, and every template."""

from threetoe.machine import files as catalog
from threetoe.prompt.pieces import CUT

TEMPLATES = catalog.named_files("templates")


def user(content, **more):
    return {"role": "user", "content": content, **more}


def assistant(content):
    return {"role": "assistant", "content": content}


PROBES = {
    "plain": [user("Say hello.")],
    "system": [{"role": "system", "content": "Be brief."}, user("Say hello.")],
    "no system": [{"role": "system", "content": ""}, user("Say hello.")],
    "input": [user("Translate.", input="Guten Tag, Welt")],
    "two turns": [user("Hi"), assistant("Hello!"), user("And?")],
    "answer starts with line breaks": [user("Hi"), assistant("\n\n Hello"), user("And?")],
    "answer starts with a mark": [user("Hi"), assistant("'s 12"), user("And?")],
    "spaces": [user("  Say hello.  \n\n "), assistant("yes  \n"), user(" x ")],
    "emoji": [user("Naïve café 👩‍🚀 e\u0301 \u200d"), assistant("🙂"), user("ok")],
    "chinese": [user("分类以下文本的情感。", input="今天真好！"), assistant("积极"), user("再来")],
    "braces": [user("{content} {{x}} %s %(a)s {eos} {% if %} {{7}}"), assistant("{"), user("}")],
    "own marks": [user("### Response:\nNo\n\n### Instruction:\n<|im_start|>assistant\n"),
                  assistant("### Human:\n"), user("### 回答:\n")],
    "special tokens": [
        user("<|end_of_text|></s><s>c<|eot_id|><|im_end|><|endoftext|>", input="<|begin_of_text|>"),
        assistant("<|reserved_special_token_7|><|im_start|>x"),
        user("<|start_header_id|>system<|end_header_id|>"),
    ],
    "long": [user("Say hello to the world, 12345 times. " * 400)],
}  # fmt: skip
WITHOUT_INPUT = {
    name: [{key: message[key] for key in ("role", "content")} for message in messages]
    for name, messages in PROBES.items()
}


def as_text(template, messages, marks):
    """Our prompt as plain text, without the BOS in front: llama.cpp's tokenizer puts it there."""
    text = "".join(piece.text for piece in template.prompt(messages, marks))
    return text.removeprefix(marks.bos).replace(CUT, "")
