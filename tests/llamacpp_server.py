"""llama.cpp's own server, through xllamacpp, on a local port."""

import json
from urllib.request import ProxyHandler, Request, build_opener

import xllamacpp

LOCAL = build_opener(ProxyHandler({}))  # whatever proxy the environment names


class Loaded:
    """A GGUF file that llama.cpp serves on a local port."""

    def __init__(self, path, context=512):
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.cpuparams.n_threads = context, 1, 1
        params.port, params.warmup, params.verbosity = 0, False, -1
        self.server = xllamacpp.Server(params)
        # One answer, so that its loop runs: a server that is let go before never ends.
        self.server.handle_completions({"prompt": "a", "max_tokens": 1})

    def ask(self, path, **body):
        request = Request(self.server.listening_address + path, json.dumps(body).encode())
        with LOCAL.open(request, timeout=60) as answer:
            return json.load(answer)

    def render(self, messages):
        return self.ask("/apply-template", messages=messages)["prompt"]

    def ids(self, text):
        asked = self.ask("/tokenize", content=text, add_special=True, parse_special=True)
        return asked["tokens"]
