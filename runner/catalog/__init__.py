"""The catalog: what is known of the API's models, prices, limits and parameters.

Owns   facts, each with its source and date: `api` (limits of the API), `models` (the Models API, its cache, a
       snapshot for offline work), `prices` (rates and the cost of a usage), `price_list` (the only importer of
       genai-prices), `price_overrides` (the user's own rates), `parameters` (what may stand under `params:`),
       `schema_subset` (the part of JSON Schema that structured outputs take).
Knows  nothing of jobs, rows, runs or files of the project. It asks no clock: times are handed in.
"""
