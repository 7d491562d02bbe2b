"""The files of the pages: templates, styles and scripts, sent as they are."""
