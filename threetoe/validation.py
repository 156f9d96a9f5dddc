"""Which rows are kept out of training, to measure the loss on."""

from threetoe.errors import UserError


def split_rows(hashes, size: str, seed: int):
    """(indices to train on, indices for validation) of rows with these hashes, both in order.

    `size` is a share below 1 or a number of rows. Rows that are equal go to one side together, so
    no validation row is trained; that may leave validation a few rows short. The same seed and
    rows give the same split. UserError when nothing would be left to train on, or to validate.
    """
    import numpy

    rows = len(hashes)
    wanted = round(float(size) * rows) if float(size) < 1 else int(float(size))
    if not 0 < wanted < rows:
        raise UserError(
            f"--val-size {size} of {rows:,} rows is {wanted:,}; some must be on each side."
        )
    _, group, counts = numpy.unique(hashes, return_inverse=True, return_counts=True)
    chosen, taken = numpy.zeros(len(counts), dtype=bool), 0
    for number in numpy.random.default_rng(seed).permutation(len(counts)):
        if taken + counts[number] <= wanted:
            chosen[number], taken = True, taken + counts[number]
        if taken == wanted:
            break
    if not taken:
        raise UserError(
            f"--val-size {size}: every row stands in the data more than {wanted:,} times, so none "
            "can be kept out of training; raise it."
        )
    held_out = chosen[group]
    return numpy.flatnonzero(~held_out), numpy.flatnonzero(held_out)


def unseen(hashes, trained):
    """The indices of rows, of those with these hashes, that are not among the trained ones."""
    import numpy

    return numpy.flatnonzero(~numpy.isin(hashes, trained))
