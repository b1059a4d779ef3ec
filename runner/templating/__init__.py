"""Templating: text from templates and values, within bounds. The public names of the package.

Two parts use it in two ways: a job's texts are a `TemplateSet`, closed when the job is loaded; `where` and a sink's
columns are `Expression`s. Everything that goes wrong is a `TemplateFailure` with a place and a cure.
"""

from runner.templating.analysis import ColumnUse, NameUse, Uses
from runner.templating.bounds import Bounds, Printed
from runner.templating.expressions import Expression
from runner.templating.failure import TemplateFailure, TemplateNotFound
from runner.templating.finder import TemplateFinder
from runner.templating.templates import Template, TemplateSet

__all__ = [
    "Bounds",
    "ColumnUse",
    "Expression",
    "NameUse",
    "Printed",
    "Template",
    "TemplateFailure",
    "TemplateFinder",
    "TemplateNotFound",
    "TemplateSet",
    "Uses",
]
