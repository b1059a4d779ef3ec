"""Execution: the only place where the parts meet. This module is its front door, and lazy.

The folder, in the order to read it in, which is that of a row's life:

    converge        `runner run`: go on, or make a new run
      asked           what it was asked for
      superseding     the runs that a new one takes the place of
    beginning       a new run, up to its first request
      enrolment       the dataset's rows are copied into it
        sources         the dataset that the job names
        column_notes    which columns the rows have, and of what type
      twins           rows that come to the same request
      choosing        its mode, and whether it primes
      confirm         the bill before it is run up
    assemble        everything a run needs, put together
      api             the user's API, or the stand-in started for a command
      folders         where runs live, and who may work on a job
      facts           what is known of models, asked for once a day
      pricing         the prices that a run keeps
      limiting        whose limits it meets, and who shares them
      known_batches   whose batches are whose, on this machine
      advising        what is worth saying before anything is sent
      asking          what the job wants done about replies that are no answer
      reply_checks    what it asks of a reply, from the job or from a run's folder
      under_way       what came of it: all that a run under way needs
    advance         a run under way
      in_time         a deadline that cannot be kept
      passes          its open steps, one pass after another
        loop            the event loop on which it sends
        signals         Ctrl-C, once and twice
        outages         an API that nothing reaches
        warming         what fills the cache before the rows of a pass
        batching        a pass in batches
      doubt           the user's word on what nobody can prove
      feeder          open steps become requests (a thread)
        earlier         answers that were paid for before
        composing       the request of any open step
        grouping        rows of one cached prefix come together
        tool_rounds     what a reply calls for is run first
        uploads         files that requests name are sent first
          uploading       one content and its id
          parked          requests that wait for such ids
      writer          leases and outcomes become durable (a thread)
      judging         what becomes of a step
      workers         a pass by several processes, which this one holds
        assignment      what a worker is told
        worker_count    how many there are
        worker_process  how one is started
        worker          what it does
        remote_book     the ledger as it sees it
        channel         what they say to one another, in groups
        outcome_tuples  and in which form
      holding         what held it back, in words
    targets         the sinks of a run, made and checked
      outputs         which files are the job's own
    projecting      records go to the sinks
      records         from what is durable to what a sink gets
        conversing      of rows with several turns or samples
      delivery        sinks that are replaced as a whole
        rereading       the records once more, for those that look at all of them first
      parts           those that are given what they lack
      live            and those that are given it while the run goes on
      versions        and whether a record is still what it was
    summary         how a run stands, and the exit status
      reasons         why rows failed, in few words
      standing        what it has at the API
      log             log.jsonl, beside each run
    resuming        resume, retry, cancel
      following       batches followed to their end, and nothing sent
    exporting       sinks written again
    revalidating    replies judged again, by a job file that has changed
    showing         one row, the failed rows, one run, for people
    planned         what a run would do, and cost
      upload_forecast   and upload
    checking        what is wrong with jobs, from local files alone
      reaching        … with their databases
    stored_files    files that runs have left at the API
    doctoring       whether this machine is ready
      about_models    what is known of a model
      findings        one line of what is found
    starter         a project to start from
    python          the same verbs, from Python

A name is imported when it is first used, so that `runner --help` and `runner check` load none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.execution.api import reach as reach
    from runner.execution.asked import RunOptions as RunOptions
    from runner.execution.checking import check_jobs as check_jobs
    from runner.execution.converge import run_job as run_job
    from runner.execution.doctoring import examine as examine
    from runner.execution.exporting import export_run as export_run
    from runner.execution.folders import StateFolder as StateFolder
    from runner.execution.planned import Plan as Plan
    from runner.execution.planned import plan_job as plan_job
    from runner.execution.planned import render_job as render_job
    from runner.execution.resuming import Resume as Resume
    from runner.execution.resuming import cancel_run as cancel_run
    from runner.execution.resuming import resume_run as resume_run
    from runner.execution.resuming import retry_run as retry_run
    from runner.execution.revalidating import Revalidated as Revalidated
    from runner.execution.revalidating import revalidate_run as revalidate_run
    from runner.execution.showing import conversations as conversations
    from runner.execution.showing import read_failed as read_failed
    from runner.execution.showing import read_row as read_row
    from runner.execution.showing import read_summary as read_summary
    from runner.execution.starter import make_project as make_project
    from runner.execution.starter import schema_text as schema_text
    from runner.execution.starter import write_schema as write_schema
    from runner.execution.stored_files import Deletion as Deletion
    from runner.execution.stored_files import StoredFile as StoredFile
    from runner.execution.stored_files import delete_files as delete_files
    from runner.execution.stored_files import list_files as list_files
    from runner.execution.summary import Summary as Summary

_HOMES = {
    "Deletion": "stored_files",
    "Plan": "planned",
    "Resume": "resuming",
    "Revalidated": "revalidating",
    "RunOptions": "asked",
    "StateFolder": "folders",
    "StoredFile": "stored_files",
    "Summary": "summary",
    "cancel_run": "resuming",
    "check_jobs": "checking",
    "conversations": "showing",
    "delete_files": "stored_files",
    "examine": "doctoring",
    "export_run": "exporting",
    "list_files": "stored_files",
    "make_project": "starter",
    "plan_job": "planned",
    "reach": "api",
    "read_failed": "showing",
    "read_row": "showing",
    "read_summary": "showing",
    "render_job": "planned",
    "resume_run": "resuming",
    "retry_run": "resuming",
    "revalidate_run": "revalidating",
    "run_job": "converge",
    "schema_text": "starter",
    "write_schema": "starter",
}

__all__ = list(_HOMES)


if not TYPE_CHECKING:  # a type checker would take every name for granted

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'runner.execution' has no attribute {name!r}")
        return getattr(importlib.import_module(f"runner.execution.{home}"), name)
