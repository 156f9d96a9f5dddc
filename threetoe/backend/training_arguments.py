"""What a training is told, as the keyword arguments of trl.SFTConfig."""

from pathlib import Path

from threetoe.backend.model import keeps_fp32
from threetoe.backend.optimizers import schedule_arguments
from threetoe.machine import processes
from threetoe.machine.libraries import has_gpu


def trains_in_bf16(config) -> bool:
    """Whether this machine can, and the weights are not kept wider."""
    from unsloth import is_bfloat16_supported

    wider = not config.load_in_4bit and keeps_fp32(config.model)
    return bool(is_bfloat16_supported()) and not wider


def choose_training_arguments(config, output_dir: Path) -> dict:
    """The keyword arguments of trl.SFTConfig; all that Unsloth would rewrite is set."""
    bf16 = trains_in_bf16(config)
    packing = config.batching_strategy == "packing"
    return {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": config.per_device_train_batch_size,
        "per_device_eval_batch_size": config.per_device_train_batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "num_train_epochs": config.num_train_epochs or 1,
        "max_steps": config.steps or -1,
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": bf16,
        "fp16": has_gpu() and not bf16,
        "gradient_checkpointing": config.use_gradient_checkpointing != "false",
        "max_length": config.max_seq_length,
        "packing": packing,
        "eval_packing": False,
        "padding_free": packing,
        "train_sampling_strategy": "random" if packing else "group_by_length",
        "eval_strategy": "steps",
        "eval_steps": config.eval_steps,  # None: as many as take a tenth of the time
        "eval_on_start": True,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
        "logging_steps": config.logging_steps,
        "run_name": config.run_name or output_dir.name,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **of_steps(config),
        **on_devices(),
    }


def of_steps(config) -> dict:
    """How weights are moved."""
    return {
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "lr_scheduler_type": config.lr_scheduler_type,
        "lr_scheduler_kwargs": schedule_arguments(config),
        "optim": config.optim,
        "max_grad_norm": config.max_grad_norm,
        "neftune_noise_alpha": config.neftune_noise_alpha,
    }


def on_devices() -> dict:
    """What several processes need; without a GPU each is on the CPU, which accelerate asks for."""
    on_cpus = processes.count() > 1 and not has_gpu()
    gloo = {"use_cpu": True, "ddp_backend": "gloo"} if on_cpus else {}
    return {"ddp_find_unused_parameters": False, **gloo}
