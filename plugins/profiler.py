"""Times a training; when it is done, says what steps, forward passes and memory came to.

python train.py --dataset my.json --plugin plugins/profiler.py
"""

from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter

_seconds, _began, _gpu = {"forward": [], "step": []}, {}, []


def register_callbacks():
    from torch import cuda
    from transformers import TrainerCallback

    class Profiler(TrainerCallback):
        def on_train_begin(self, args, state, control, model, **kwargs):
            model.register_forward_pre_hook(lambda *_: self.on_step_begin(name="forward"))
            model.register_forward_hook(lambda *_: self.on_step_end(name="forward"))

        def on_step_begin(self, *args, name="step", **kwargs):
            _began[name] = perf_counter()

        def on_step_end(self, *args, name="step", **kwargs):
            if cuda.is_available():
                cuda.synchronize()  # a GPU is done later than it is asked
                _gpu.append(cuda.max_memory_allocated())
            _seconds[name].append(perf_counter() - _began[name])

    return {"profiler": Profiler()}


def after_train(trainer):
    for name, times in _seconds.items():
        print(f"{name:8}{len(times):6} x {median(times):7.4f} s, {max(times):.4f} s at most")
    tokens = trainer.state.epoch * sum(map(len, trainer.train_dataset["input_ids"]))
    print(f"tokens  {tokens / sum(_seconds['step']):6,.0f} a second, padding not counted")
    memory = max(_gpu, default=getrusage(RUSAGE_SELF).ru_maxrss * 1024)  # Linux counts in KiB
    print(f"memory  {memory / 2**30:6.2f} GiB at most")
