"""The recognition tasks of the white paper (arXiv 2403.14048): targets, systems, scores, reports."""
