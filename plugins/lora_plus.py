"""Trains the second matrix of each adapter faster than the first (LoRA+, arxiv.org/abs/2402.12354).

python train.py --dataset my.json --plugin plugins/lora_plus.py --set ratio=16
The optimizer is torch's AdamW. A variant that starts the adapter otherwise belongs into map_model;
one that changes the base's weights with it (PiSSA) would be merged into the wrong ones.
"""

from dataclasses import dataclass

from threetoe import api


@dataclass(frozen=True)
class Settings:
    ratio: float = 16.0  # of the two learning rates


def build_trainer(model, tokenizer, rows, arguments, callbacks, validation, settings):
    from peft.optimizers import create_loraplus_optimizer
    from torch.optim import AdamW

    trainer = api.build_trainer(model, tokenizer, rows, arguments, callbacks, validation)
    trainer.optimizer = create_loraplus_optimizer(
        model, AdamW, lr=arguments["learning_rate"], loraplus_lr_ratio=settings.ratio
    )
    return trainer
