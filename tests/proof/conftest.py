"""What only a soak runs."""

from support.soak import FACTOR

# The same faults come from the shim in test_every_call.py, hundreds of times faster and
# on machines that forbid to trace a process.
collect_ignore = [] if FACTOR > 1 else ["test_traced_calls.py"]
