"""JSON schemas of the files that users write (a run's configuration, a sweep, a comparison), for editors, made from
the classes that read those files. `python -m gandist.schemas` writes them here, beside the code.
"""
