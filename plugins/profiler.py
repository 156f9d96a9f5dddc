"""Times a training; when it is done, says what steps, forward passes and memory came to.

python train.py --dataset my.json --plugin plugins/profiler.py
"""

from resource import RUSAGE_SELF, getrusage
from time import perf_counter

_marks, _gpu = {"forward": [], "step": []}, []  # a mark where each begins, and where it ends


def register_callbacks():
    from torch import cuda
    from transformers import TrainerCallback

    def mark(name):
        if cuda.is_available():
            cuda.synchronize()  # a GPU is done later than it is asked
            _gpu.append(cuda.max_memory_allocated())
        _marks[name].append(perf_counter())

    class Profiler(TrainerCallback):
        def on_train_begin(self, args, state, control, model, **kwargs):
            for register in (model.register_forward_pre_hook, model.register_forward_hook):
                register(lambda *_: mark("forward"))

        def on_step_begin(self, *args, **kwargs):
            mark("step")

        on_step_end = on_step_begin

    return {"profiler": Profiler()}


def after_train(trainer):
    for name, marks in _marks.items():
        times = sorted(end - begin for begin, end in zip(marks[::2], marks[1::2], strict=True))
        print(f"{name:8}{len(times):5} x {times[len(times) // 2]:.4f} s, {times[-1]:.4f} s at most")
    tokens = trainer.state.epoch * sum(map(len, trainer.train_dataset["input_ids"]))
    memory = max(_gpu, default=getrusage(RUSAGE_SELF).ru_maxrss * 1024) / 2**30  # Linux: in KiB
    print(
        f"{tokens / sum(times):,.0f} tokens a second, no padding counted; {memory:.2f} GiB at most"
    )
