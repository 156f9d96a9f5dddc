"""Times a training; when it is done, says what steps, forward passes and memory came to.

python train.py --dataset my.json --plugin plugins/profiler.py
"""

from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter


def register_callbacks():
    from torch import cuda
    from transformers import TrainerCallback

    marks = {"forward": [], "step": []}  # where each begins, and where it ends

    def mark(name):
        if cuda.is_available():
            cuda.synchronize()  # a GPU is done later than it is asked
        marks[name].append(perf_counter())

    class Profiler(TrainerCallback):
        def on_train_begin(self, args, state, control, model, **kwargs):
            for register in (model.register_forward_pre_hook, model.register_forward_hook):
                register(lambda *_: mark("forward"))

        def on_step_begin(self, *args, **kwargs):
            mark("step")

        on_step_end = on_step_begin

        def on_train_end(self, args, state, control, train_dataloader, **kwargs):
            for name, at in marks.items():
                times = [end - begin for begin, end in zip(at[::2], at[1::2], strict=True)]
                print(f"{name:8}{len(times):5} x {median(times):.4f} s, {max(times):.4f} s at most")
            tokens = state.epoch * sum(map(len, train_dataloader.dataset["input_ids"]))
            peak = cuda.max_memory_allocated() or getrusage(RUSAGE_SELF).ru_maxrss * 1024  # bytes
            print(f"{tokens / sum(times):,.0f} tokens a second, {peak / 2**30:.2f} GiB at most")

    return {"profiler": Profiler()}
