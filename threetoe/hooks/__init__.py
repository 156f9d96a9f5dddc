"""The contract with strangers' code: specs on one page, load, order, call, name who failed."""
