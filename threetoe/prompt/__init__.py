"""A conversation as text and mask, then as tokens; the same prompt as Jinja, GGUF Jinja and
Modelfile.
"""
