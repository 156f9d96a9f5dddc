"""From any source to conversations on disk, every row accounted for. Knows no tokenizer: who needs
one hands it in.
"""
