"""What the program costs and how near it comes to the best possible, beside what one would use instead.

`python -m benchmarks --help`; nothing here leaves this machine.
"""
