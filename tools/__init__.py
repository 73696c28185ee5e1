"""What is made from the program and lies beside it: reference pages, the manual page, completions, pictures.

``python -m tools.made`` writes all of it but the pictures (``python -m tools.pictures``); a test compares.
"""
