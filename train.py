#!/usr/bin/env python
"""Fine-tune Llama 3 with Unsloth: 4-bit base, LoRA adapter, gradient checkpointing."""

from threetoe.options.command import command
from threetoe.options.train import TrainConfig


@command(TrainConfig)
def main(config):
    """Fine-tune a Llama on your data with Unsloth: 4-bit base, LoRA, gradient checkpointing.

    \b
    python train.py --dataset my.json --template alpaca
    python train.py --dataset my.csv --map instruction=question --map output=reply
    python train.py --dataset my.json --preview 3
    python train.py --dataset my.json --rehearse
    python train.py --config my.yaml --learning-rate 1e-4
    python train.py --dataset my.json --max-hours 0.75 --then "export --merged my-model"
    """
    if config.rehearse:
        from threetoe.commands.rehearse import rehearse as run
    elif config.then is not None:
        from threetoe.commands.then import train_then as run
    else:
        from threetoe.train.train import train as run
    run(config)


if __name__ == "__main__":
    main()
