"""The declaration: a job file, checked and closed over everything that it names.

`load.load` is the entry; `job` holds the models, `columns.check_columns` the check that needs the dataset's header,
`schema.json_schema` what editors use. On the way a job is a tree of nodes that know their places (`node`).

The folder, in the order to read it in:

    load            a job file to a `LoadedJob`, every problem at once
      source          YAML to nodes with positions
        scalars         plain scalars, by YAML 1.2's core schema
        syntax          what the parser refuses, in words for people
        node            the tree
      layers          flags, profiles, `extends` and defaults, merged into one tree
      environment     `${NAME}`
      shape           short forms to long ones; which keys there are
      validate        the tree to a `Job`
    job             the models of what a user writes
      model           what they share
      content         messages and their blocks
      dataset         where rows come from
      reply           what a reply must be
      sink            where records go
      values          durations, shares, money, cache marks
    loaded          a job with everything it names
      inputs          the files that it names
      origins         where content comes from, and which paths may be read
      media           its images and documents
      texts           its texts, and what each may see
      templates       what can be said against them before there are rows
      blocks          what a block may say
      conversation    who speaks first and last
      tools           its tools
      output          what a reply must look like
      patterns        … regular expressions of JSON Schema
      automata        … whether one occurs in a text, in bounded time
      regexes         … and those of an author, which are run over replies
      statement       `sql` and `query`
      connections     `url`
      provider        who serves it
      params          its parameters
    together        what fits only together
      asking          … about replies that are no answer
      dataset_checks  … in a dataset
      output_checks   … in `output`
      sink_checks     … in a sink
      table_checks    … in a sink that is a table
      hints           the words of hints that several checks share
    columns         do the columns that a job uses exist?
      used_columns    which these are
    schema          the models as JSON Schema and as a reference page
      tool_schema     … those of tools
    json_schema     is this a JSON Schema? Asked of those that users write
"""
