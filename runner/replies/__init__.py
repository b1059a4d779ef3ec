"""Replies: what an answer is worth. Pure.

Owns   `judge` (whether a reply answers its request), `asking` (what is done where it does not), and the check of a
       reply's text: `passages` (an output in running text), `schema` with `formats` and `mismatches` (the local check
       of structured output), `rules`, and `reply_check`, which is all of them for one job. Beside them the text of a
       reply (`extract`) and what most samples of a row say (`vote`). What is cut off, refused or invalid is a
       `Failure` value, never an exception.
Knows  replies and JSON Schema. Nothing of jobs, engines or the ledger.
"""
