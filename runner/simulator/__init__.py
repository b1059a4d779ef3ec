"""The stand-in API: a local server that behaves like the Messages API and its batches, for demos and for every test.

Owns   a child process that speaks HTTP on the loopback, answers deterministically, refuses what the real API refuses,
       does prompt-cache and rate-limit arithmetic, misbehaves on request, and keeps accounts that nobody else can
       write.
Knows  the wire format only. It shares no rule with the rest of runner (prices, cache minimums, identity are its own),
       so that an error there is not repeated here. It never sees a real credential.

This front door is light: it starts the server as a child and talks to it, and imports no HTTP server.

    with launch(Options(state=folder)) as running:
        os.environ["ANTHROPIC_BASE_URL"] = running.base_url
        os.environ["ANTHROPIC_API_KEY"] = running.api_key

The folder, in the order to read it in:

    process         the server as a child: started, found, ended
    control         the client of its control endpoint: scripts faults, turns its clock, asks its accounts
    options         how it is told to behave
    server          the loop and the socket, in the child
      app             routes, credentials, headers, the shape of errors
      exchange        one HTTP exchange
      platforms       the platforms' own envelopes
      admin           the server's side of the control endpoint
    messages        a request, from its body to a billed reply
      validation      what is refused before it is answered
        blocks          … of messages and their blocks
        output_schema   … of schemas
        media           … of images and documents
        refusal         errors in the API's shape
      models          what is known of each model
      prompt          a request as the model sees it
      prompt_cache    what of it is read and written
      limits          rate limits by token bucket
      answers         what is answered
        instances       values that fit a schema
        told            … and what a description asks beyond it
        tools           calls of tools, and what is refused of a conversation with them
      envelope        the reply on the wire
      bill            what it costs
      accounts        the books
    batches         the Message Batches endpoints
      batch_intake    the body of a create, to a file
      batch_envelope  cut into requests
      batch_shapes    what they have in common
      batch_traits    what can be wrong with a batch as such
      batch_store     where batches live
      batch_work      when one is due, it is answered
      batch_rows      one request of it
      batch_results   the download of its results
    files           the Files endpoints
      file_store      where files live
    faults          misbehaviour on request
      acts            what can go wrong, and where
      misanswers      replies that are no success all the same
"""

from runner.simulator.control import ControlFailed, Controls
from runner.simulator.options import DEFAULT_KEY, BatchStart, Latency, Options, parse_fault
from runner.simulator.process import Running, launch, serve

__all__ = [
    "DEFAULT_KEY",
    "BatchStart",
    "ControlFailed",
    "Controls",
    "Latency",
    "Options",
    "Running",
    "launch",
    "parse_fault",
    "serve",
]
