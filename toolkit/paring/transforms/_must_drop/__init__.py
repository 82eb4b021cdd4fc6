"""MustDrop: three stages of dropping vision tokens, training-free. https://arxiv.org/abs/2411.10803

1. `spatial`: once in the vision encoder, windows of similar patches merge into their mean.
2. `keys`: the patches that the class token attends to most are never dropped afterwards.
3. `dual_attention`: after some layers of the language model, image tokens that the text attends to neither
   in sum nor anywhere in particular are dropped.
4. `cache`: after the prompt, the keys and values of earlier layers shrink to the tokens that survived.

Every stage is in two forms: with the paper's thresholds, whose counts depend on the values, and with fixed
budgets, which export. `calibration` turns thresholds into budgets. `positions` says which positions
the survivors have.
"""
