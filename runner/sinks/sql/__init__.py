"""Tables of databases as sinks: PostgreSQL, MariaDB and MySQL, SQLite, DuckDB.

    sink            records to rows, in transactions that know what was delivered
      preparing       the table before the first part
      loading         rows into it
      key_book        which record has which unique key
      unique_keys     the unique key of a table
    target          the table as it is wanted beside the table as it is
      columns         … as it was found
    fitting         values as columns hold them
    marks           how far each delivery is
    session         a connection, and what each database has to say of itself
      postgresql, mysql, sqlite, duckdb   the dialects
      names           names in statements
      opening         which of them stands behind a connection
      reach           a connection that may be lost
    options         what a job may set; light

Names of tables and columns are the user's and are quoted wherever they stand in a statement; values are parameters.
"""
