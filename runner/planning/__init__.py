"""Planning: what is sent. Pure: no files, no network, no clock.

Owns   the way from a loaded job to requests: `compile` (once a job), `requests` (once a row), `identity` (what makes
       two requests the same, and two jobs), and what can be said before anything is sent: `estimate`, `mode`,
       `advice`.
Knows  jobs, rows, templates and the catalog. Nothing of engines, providers, ledger or sinks.
"""
