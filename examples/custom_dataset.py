"""Rows from a function, as llama-recipes calls it: (config, tokenizer, split).

python train.py --dataset examples/custom_dataset.py --preview 2
python train.py --dataset examples/custom_dataset.py:get_sums --dry-run
python train.py --dataset examples/custom_dataset.py:get_ids --dry-run
"""

IGNORED = -100  # a label that is not learned


def get_custom_dataset(config, tokenizer, split):
    """Conversations, each a list of messages; this is the function that is called by default."""
    start = 0 if split == "train" else 50
    return [
        [
            {"role": "user", "content": f"What comes after {number}?"},
            {"role": "assistant", "content": str(number + 1)},
        ]
        for number in range(start, start + 50)
    ]


def get_sums(split):
    """Rows with the columns of any known format, given one by one; only `split` is asked for."""
    for number in range(20 if split == "train" else 5):
        yield {"instruction": "Add the numbers.", "input": f"{number} 2", "output": f"{number + 2}"}


def get_ids(tokenizer):
    """Rows that are tokens already; -100 stands for what is not learned."""
    rows = []
    for number in range(20):
        prompt = tokenizer(f"{number} + 1 =").input_ids
        answer = [*tokenizer(f" {number + 1}", add_special_tokens=False).input_ids]
        answer.append(tokenizer.eos_token_id)
        labels = [IGNORED] * len(prompt) + answer
        rows.append({"input_ids": prompt + answer, "labels": labels})
    return rows
