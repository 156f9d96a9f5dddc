"""Threetoe: fine-tune Llama 3 with Unsloth in three scripts, train.py, infer.py, export.py."""

__version__ = "0.1.0"
