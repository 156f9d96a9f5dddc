"""Check all, encode, train, save: train.py is one screen, the rest in the order of the flow."""
