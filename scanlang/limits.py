"""The bounds on a program, so that reading a stranger's file is bounded work. Each is a diagnostic with its place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Sizes are counts; `text` counts characters (and bytes of a file), `tokens` words and signs of one file.

    `orders` counts the orders that one order is made of, `visits` its steps for each cell, `table_cells` the cells of all
    tables of a program, `layers` the choices of directions and `uses` the used layers of a scan. `unrolled` counts the
    operations of a step, `unrolled_matrix` those of one that also has a form for matrix products.
    `block_depth` counts blocks inside each other, `network_layers` the layers of a block or backbone with all in them,
    `file_layers` those of all in a file, `network_calls` the calls and operations in `forward` of all that is in one,
    `file_calls` those of all in a file, `network_work` the operations of the numbers of one network, `number_bits` the bits
    of one number.
    """

    text: int = 1_000_000
    tokens: int = 20_000
    nesting: int = 64
    expression_depth: int = 128
    integer: int = 2**31 - 1
    directions: int = 64
    index_size: int = 4096
    import_depth: int = 32
    unrolled: int = 1024
    unrolled_matrix: int = 4096
    loops: int = 16
    axes: int = 4
    orders: int = 256
    visits: int = 64
    table_cells: int = 2**24
    layers: int = 64
    conv_width: int = 16
    uses: int = 16
    block_depth: int = 32
    repeats: int = 1024
    network_layers: int = 4096
    file_layers: int = 2**16
    network_calls: int = 2**16
    file_calls: int = 2**17
    network_work: int = 2**18
    number_bits: int = 4096


LIMITS = Limits()
