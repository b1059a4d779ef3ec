"""Templating: text from templates and values, within bounds. The public names of the package.

Two parts use it in two ways: a job's texts are a `TemplateSet`, closed when the job is loaded; `where` and a sink's
columns are `Expression`s. Everything that goes wrong is a `TemplateFailure` with a place and a cure.

The folder, in the order to read it in:

    templates       the closed set of a job's templates
      closure         from those that it names to all that they need
      finder          where they are looked for
      syntax          a text as a checked tree
      analysis        what a template will look up, found without rendering it
        scopes          what a name can stand for meanwhile
        proofs          what a test proves to be there
        lookups         which items it may look at, all of them
    expressions     one expression over values: `where`, columns, values that pass as they are
    sandbox         Jinja with item access only, every growth counted
      bounds          what one render may use
      operators       what makes something long out of something short
      printing        how a value becomes text
      missing         what stands for what is not there
      filters         the tables of filters and tests
        text_filters, list_filters, typed_filters
    failure         how templating says that something is wrong
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
