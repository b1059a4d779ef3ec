"""Media: what images, PDFs and texts are by their bytes, how large, and how many tokens they come to.

Owns   the finding of a media type from magic numbers (`kinds`), the pixels of an image and the pages of a PDF without
       a library (`measures`), the API's token formulas (`tokens`), and the scaling of images (`scaling`, the only
       importer of Pillow); put together to what fits a block (`content`), within what the API takes (`limits`).
Knows  bytes. Nothing of jobs, rows, files or models: bounds that go by the model are given to it.
"""
