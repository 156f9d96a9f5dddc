"""A conversation as text and mask, then ids; the same prompt as Jinja, GGUF Jinja, Modelfile."""
