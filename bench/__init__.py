"""What the gateway costs, measured beside nginx on the same machine in the same minutes.

`python -m bench compare` is the table; `upstream` and `load` are its two ends and can be used
alone, `check` fails past the bar, `plugins` tells what each plugin costs. Only ratios inside one
run mean anything: the absolute numbers are this machine's. Nothing here is imported by the product.
"""
