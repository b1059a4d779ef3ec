"""Replies: what an answer is worth. Pure.

Owns   `extract` (the text and output in a reply), `schema` (the local check of structured output) and `judge`
       (whether a reply answers its request). What is cut off, refused or invalid is a `Failure` value, never an
       exception.
Knows  replies and JSON Schema. Nothing of jobs, engines or the ledger.
"""
