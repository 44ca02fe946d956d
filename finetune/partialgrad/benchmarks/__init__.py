"""Compare ways to fine-tune, side by side in one run: time, memory, quality, size of the result.

    python -m partialgrad.benchmarks                          # the built-in models, a few minutes on a CPU
    python -m partialgrad.benchmarks --model module:function  # yours: a function that returns a Task

Methods of huggingface/peft take part where it is installed; nothing else is needed.
"""

from partialgrad.benchmarks.task import Task

__all__ = ["Task"]
