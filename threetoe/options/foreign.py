"""The names that other trainers have for options: each with ours, or with why there is none.

They are those of transformers and TRL, PEFT, Unsloth's command line, axolotl, LLaMA-Factory, mlx-lm
and litgpt.
"""

import difflib

CLOSE = 0.8  # of difflib's ratio: a wrong guess is worse than none
OURS = {  # ours, or two of which a script has one: theirs
    "model": """model-name-or-path model-name model-id base-model base-model-name-or-path
        pretrained-model-name-or-path checkpoint-dir""",
    "run|adapter": "adapter-path adapter-name-or-path lora-path checkpoint ckpt peft-model",
    "dataset|file": """dataset-name datasets data data-path data-file data-files train-file
        train-data training-data input-file prompts-file""",
    "dataset-subset": "dataset-config dataset-config-name config-name",
    "dataset-split": "split train-split dataset-train-split",
    "val-split": "eval-split test-split dataset-test-split",
    "val-dataset": "eval-dataset eval-file validation-file validation-data valid-file",
    "val-size": "val-set-size test-size eval-size validation-split-percentage",
    "template": """chat-template prompt-template prompt-style conversation-template
        instruction-template""",
    "max-seq-length|max-new-tokens": """max-length max-len max-seq-len seq-len seq-length
        sequence-len sequence-length cutoff-len model-max-length block-size context-length""",
    "max-new-tokens": "max-tokens max-output-tokens num-predict",
    "temperature": "temp",
    "system": "system-prompt system-message",
    "learning-rate": "lr peak-lr",
    "lr-scheduler-type": "lr-scheduler scheduler schedule lr-schedule",
    "per-device-train-batch-size|batch-size": """batch-size train-batch-size micro-batch-size
        per-device-batch-size per-gpu-train-batch-size""",
    "gradient-accumulation-steps": """grad-accum grad-accumulation grad-accum-steps
        grad-accumulation-steps gradient-accumulation accumulate-grad-batches""",
    "num-train-epochs": "epochs num-epochs train-epochs n-epochs max-epochs",
    "max-steps": "steps num-steps iters max-iters iterations train-steps",
    "neftune-noise-alpha": "neftune noisy-embedding-alpha",
    "max-grad-norm": "gradient-clip clip-grad-norm gradient-clip-val",
    "lr-scheduler-kwargs": "lr-scheduler-args lr-kwargs",
    "warmup-steps": "warmup num-warmup-steps lr-warmup-steps",
    "weight-decay": "wd",
    "optim": "optimizer",
    "lora-r": "rank lora-rank lora-dim r",
    "lora-alpha": "alpha",
    "lora-dropout": "dropout",
    "use-rslora": "rslora lora-rslora",
    "use-dora": "dora",
    "modules-to-save": "additional-target lora-modules-to-save",
    "init-adapter": "resume-adapter-file lora-model-dir",
    "train-on last": "mask-history",
    "target-modules": "lora-target lora-target-modules lora-keys",
    "load-in-4bit": "quantization-bit use-4bit qlora quantize",
    "use-gradient-checkpointing true": "gradient-checkpointing grad-checkpoint",
    "batching-strategy packing": "packing sample-packing neat-packing",
    "logging-steps": "log-steps log-interval steps-per-report log-every",
    "report-to wandb": "wandb use-wandb",
    "report-to tensorboard": "tensorboard",
    "run-name": "wandb-run-name",
    "early-stopping-patience": "early-stopping patience",
    "load-best-model-at-end": "load-best-model save-best",
    "save-steps": """save-every save-interval save-strategy steps-per-save checkpoint-steps
        saves-per-epoch""",
    "resume": "resume-from-checkpoint auto-resume resume-from",
    "overwrite": "overwrite-output-dir force-overwrite",
    "max-samples": "max-train-samples num-samples limit",
    "seed": "random-seed manual-seed random-state",
    "output-dir|output": "output out out-dir save-path save-dir output-path output-file",
    "merged": "merge merge-and-unload save-merged export-dir",
    "gguf": "quantization-method quant-method save-gguf export-gguf gguf-path outtype",
    "push-to|push": "push-to-hub hub-model-id repo-id upload-repo push-repo hf-path",
    "private": "hub-private-repo hub-private",
    "preview": "show print-samples show-samples",
}
NONE = {  # why there is none: theirs
    "16-bit numbers follow the hardware: bfloat16 where it has it, else float16":
        "bf16 fp16 tf32 fp32 torch-dtype precision mixed-precision",
    "the base has 4 bits, or 16 with --no-load-in-4bit": "load-in-8bit use-8bit",
    "every training is of a LoRA adapter":
        """use-peft use-lora lora adapter peft finetuning-type fine-tune-type full-finetuning
        train-type""",
    "plugins/lora_plus.py does it: --plugin plugins/lora_plus.py": "loraplus-lr-ratio",
    "it is not built; a plugin's map_model can start the adapter otherwise":
        "use-loftq loftq-config pissa-init",
    "it is supervised fine-tuning alone":
        "dpo orpo kto ppo grpo rlhf stage reward-model reward-funcs pref-beta beta loss-type",
    "plugins/adam.py sets it: --plugin plugins/adam.py --set beta2=0.95":
        "adam-beta1 adam-beta2 adam-epsilon",
    "--report-to takes tensorboard, wandb and trackio, each told where by its own variables":
        "wandb-project logging-dir swanlab",
    "every run folder has its loss.png": "plot-loss",
    "rows are prepared anew each time, on all cores":
        "overwrite-cache preprocessing-num-workers dataset-num-proc dataset-prepared-path",
    "tokens are the tokenizer's and the template's; --new-tokens trains those a base lacks":
        "special-tokens eos-token pad-token add-tokens additional-special-tokens",
    "--val-size or --val-dataset measures, every --eval-steps":
        """do-eval eval-strategy evaluation-strategy eval-interval evals-per-epoch steps-per-eval
        val-batches""",
    "train.py trains, infer.py asks, export.py exports": "do-train train do-predict test mode task",
    "answers are greedy, or sampled with --temperature": "do-sample num-beams",
    "one process trains on one device":
        "deepspeed fsdp num-gpus gpus devices nproc-per-node num-processes tensor-parallel-size",
    "Unsloth chooses the attention":
        "attn-implementation attention flash-attention flash-attn use-flash-attn",
    "code that comes with a model is never run": "trust-remote-code",
    "a run says what it does in a few lines as it is": "verbose quiet log-level debug",
}  # fmt: skip


def turned(table: dict[str, str]) -> dict[str, str]:
    """{their name: what stands for it}."""
    return {name: ours for ours, names in table.items() for name in names.split()}


def explain(name: str, known: list[str], spell=lambda name: f"--{name}") -> str:
    """What to say of an option that is not among the `known` ones, all without dashes in front:
    ours for it, why there is none, a name that is close, or nothing. `spell` writes a name as it
    is given, as a flag or as a key of YAML."""
    name = name.replace("_", "-")
    for ours in turned(OURS).get(name, "").split("|"):
        if ours.split(" ")[0] in known:
            return f" Here it is {spell(ours)}."
    if why := turned(NONE).get(name):
        return f" There is none: {why}."
    close = difflib.get_close_matches(name, known, n=1, cutoff=CLOSE)
    return f" Did you mean '{spell(close[0])}'?" if close else ""
