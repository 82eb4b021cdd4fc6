"""Language models, and vision-language models, measured phase by phase.

- `prompts`: what is asked. `run`: one answer, each phase timed, and what its cache held.
- `timing`: answers of several models in turn. `cost`: multiply-accumulates of each phase.
- `stages`: tokens before and after each step of a transform. `measure`: the whole line.
"""
