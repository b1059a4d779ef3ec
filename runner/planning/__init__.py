"""Planning: what is sent. Pure: no files, no network, no clock.

Owns   the way from a loaded job to requests: `compile` (once a job), `requests` (once a row), `identity` (what makes
       two requests the same, and two jobs), and what can be said before anything is sent: `estimate`, `mode`,
       `advice`.
Knows  jobs, rows, templates and the catalog. Nothing of engines, providers, ledger or sinks.

The folder, in the order to read it in:

    compile         a loaded job becomes something that makes requests
      pieces          its messages, encoded once and cut where a row's text or blocks go
      makers          what makes the blocks of a request
      capable         blocks and tools that a model does not take
    requests        one row becomes one request
      compose         the parts of one with content in it
      blocks          what a job says of a block, as blocks of a request
      content         bytes, addresses and file ids as blocks of the API
      history         a conversation that a row holds
    conversation    the request of a later step
      turns           what the user says once there is a reply
      further         what asking again may cost at most
    identity        which requests are the same, and which jobs
    mode            in which mode a job runs
      priming         whether one request goes first in batch mode
      warm_up         whether one without an answer does in parallel mode
    estimate        what a job will cost
    advice          what will not do what its author thinks
"""
