"""What runner costs in time, memory and disk, measured on the stand-in API: `make bench`.

Owns   the scripts, and `RESULTS.md`, which they write: nothing stands there that was not measured by the command beside
       it. Every figure is of a whole program in a child process of its own; what is compared runs in turns, so that a
       machine that is busy for a while is busy for both.

    startup      how long `runner --help` and `runner check` take
    reviews      the job over a published dataset
    throughput   rows a second and CPU a row, beside a plain loop over the SDK
    memory       peak memory over 20,000 and 200,000 rows, and what a run leaves on disk
    batch-…      batch mode beside the plain SDK: reviews, submit, memory, collect, priming

    python -m benchmarks [NAME…] [--quick]
"""
