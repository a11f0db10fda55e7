"""Load tests and benchmarks of a running service, from outside: speaks HTTP only and imports nothing else of ours.

python -m loadtest slo       does this server hold its latency objective at this rate?
python -m loadtest merge     the latencies of several slo runs as one
python -m loadtest capacity  how much can one replica carry?
python -m loadtest compare   how does it compare under open-loop load, rate by rate?
python -m loadtest bench     how does it compare with its peer, side by side?
python -m loadtest overhead  what does the service add to ONNX Runtime?
python -m loadtest cache     what do its caches bring, and do they change a score?
python -m loadtest overload  what holds at 2 and 10 times the rated load? mixed, soak, lifecycle: docs/promises.md
python -m loadtest traffic   turns judgements and a catalogue into a traffic file
"""
