"""What runner costs in time, memory and disk, measured on the stand-in API: `make bench`.

Owns   the scripts, and `RESULTS.md`, which they write: nothing stands there that was not measured by the command beside
       it. Every figure is of a whole program in a child process of its own; what is compared runs in turns, so that a
       machine that is busy for a while is busy for both.

    startup      how long `runner --help` and `runner check` take, and the time to the first request
    reviews      the job over a published dataset
    parallel-…   parallel mode beside a bare loop, loops over the SDK and public runners: speed, latency, limits, cache,
                 memory, million (rows), peers; `parallel` is all of them with `startup`
    batch-…      batch mode beside the plain SDK: reviews, submit, memory, collect, priming; `batch` is all of them

    python -m benchmarks [NAME…] [--quick]

`raw/` keeps the figures of every single run of the parallel ones and of `startup`. Peers are installed from the package
index into a folder beside the system's temporary files; all else needs nothing but this machine.
"""
