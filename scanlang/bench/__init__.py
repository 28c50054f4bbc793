"""Benchmarks: rows that are measured by name, beside what the machine could do at best. `scanlang bench` is the door to them.

    row.py        what is measured, and what is found      catalogue.py  every row by its name
    clock.py      medians                                   machine.py    limits and versions
    run.py        rows in a process of their own, which may fail or hang alone (worker.py)
    document.py   JSON, merging        table.py, growth.py, roofline.py   what is shown
The other files are rows.
"""
