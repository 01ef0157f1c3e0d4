"""The pages that people see: the documentation, the API reference, the playground and a key's own usage.

Nothing is built beforehand. Pages are rendered from the Markdown and the OpenAPI document of the running
version at their first request, and kept compressed. Scripts are plain ECMAScript modules, served as written.
`pages` is the only module that knows HTTP.

Reading order: `pages`, `policy`, `site`, `sources`, `markup`, `layout`, `words`, `reference`.
"""
