"""The catalog: what is known of the API's models, prices, limits and parameters.

Owns   facts, each with its source and date:
         api                limits that hold for every model, and the API's version
         models             facts of models: what the Models API said, over a dated `snapshot`
         model_rules        what is well-formed, and refused by one of them
         prices             rates and the cost of a usage; built by `price_list` (the only importer of genai-prices) and
                            `price_overrides` (the user's own)
         parameters         what may stand under `params:`, in terms of `shapes`; beside it `betas`, `extra_body`,
                            `tool_choice`, and the tools that the API defines (`server_tools`)
         schema_subset      the part of JSON Schema that structured outputs take
         schema_weakening   what is sent of a schema that asks for more, by `schema_references`, `schema_merging` and
                            `schema_values`
Knows  nothing of jobs, rows, runs or files of the project. It asks no clock: times are handed in.
"""
