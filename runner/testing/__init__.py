"""Conformance suites for plugin authors: what every dataset, sink and provider must do, as plain functions with
asserts.

    from runner.testing.datasets import check_dataset

    def test_my_dataset_keeps_the_contract(tmp_path):
        check_dataset(lambda rows: make_my_dataset(tmp_path, rows))

A suite needs no test framework. It fails with an AssertionError that says which promise was broken. The built-ins pass
the same suites (`tests/contract/`).

The folder, in the order to read it in:

    datasets        `check_dataset`
    sinks           `check_sink`
    part_sinks      `check_part_sink`, of sinks that take parts
    tables          `check_table`, beside it where the target is a table
    providers       `check_provider`
"""
