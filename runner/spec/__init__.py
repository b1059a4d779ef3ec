"""The declaration: a job file, checked and closed over everything that it names.

`load.load` is the entry; `job` holds the models, `columns.check_columns` the check that needs the dataset's header,
`schema.json_schema` what editors use. On the way a job is a tree of nodes that know their places (`node`).
"""
