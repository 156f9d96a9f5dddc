"""What is outside: files, the heavy libraries (unsloth first, quietly), the terminal, disk and
memory, the Hub's yes or no. Knows nothing of training.
"""
