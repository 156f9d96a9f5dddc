"""A plugin that measures what a training takes at its peak on a CPU, beside what was estimated:

    python train.py --max-steps 2 --plugin benchmarks/memory.py --model DIR --dataset my.jsonl

Counts the weights and what torch's allocator gives; not in it are the libraries themselves, and
what the C library keeps of memory that was given back.
"""

_STATE = {}


def register_callbacks(config):
    from transformers import TrainerCallback

    class Measured(TrainerCallback):
        on_train_begin, on_train_end = _begin, _end

    _STATE["config"] = config
    return {"memory": Measured()}


def _begin(callback, args, state, control, model=None, **kwargs):
    from torch.profiler import ProfilerActivity, profile

    weights = {parameter.data_ptr(): parameter.nbytes for parameter in model.parameters()}
    _STATE["weights"] = sum(weights.values())
    _STATE["profile"] = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    _STATE["profile"].start()


def _end(callback, args, state, control, train_dataloader=None, **kwargs):
    from threetoe.backend.memory import SAFE, need_of
    from threetoe.train.batches import lengths_of

    _STATE["profile"].stop()
    events = _STATE["profile"].profiler.kineto_results.events()
    given = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = peak = 0
    for _, size in given:
        held += size
        peak = max(peak, held)
    measured, config = _STATE["weights"] + peak, _STATE["config"]
    rows, longest = config.per_device_train_batch_size, lengths_of(train_dataloader.dataset).max()
    length = -(-int(longest) // 8) * 8
    estimated = need_of(config).peak(rows, length) - SAFE
    print(
        f"{rows} x {length} tokens: {measured / 1e6:.1f} MB, estimated {estimated / 1e6:.1f} MB "
        f"({estimated / measured - 1:+.0%})"
    )
